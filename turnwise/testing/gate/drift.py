"""A run held against its baseline: what rose, what fell, and what may have caused it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from turnwise.calls.errors import ConfigError
from turnwise.report.run_record import TurnKey
from turnwise.testing.gate.baseline import Baseline
from turnwise.testing.gate.causes import Causes, causes_between
from turnwise.testing.gate.comparable import require_comparable
from turnwise.testing.gate.counting import CallPath, TurnFigures
from turnwise.testing.gate.gates import Gates

if TYPE_CHECKING:
    from turnwise.testing.gate.quarantine import Case

__all__ = ["Drift", "Figure", "Finding", "Held", "compare"]

_ROUNDING = 1e-9
"""A share of a figure that is no change: sums of floats may differ in their last digits."""


class Figure(StrEnum):
    """What a finding is about, as it is shown."""

    CALLS = "calls"
    DEGRADED = "degradations"
    UNREADABLE = "unreadable answers"
    REQUESTS = "requests"
    ROUNDS_REPLY = "rounds to the reply"
    ROUNDS_TURN = "rounds to the end"
    TOKENS = "tokens"
    USD = "USD"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure that is not what it was.

    Args:
        figure: which.
        before: what the baseline has.
        now: what the run has.
        key: conversation and turn; None outside of turns, and for a figure of the whole run.
        path: who asked, for calls; None for any other figure.
        most_in: of a figure of the whole run, the turn that got worse most; None
            otherwise.
    """

    figure: Figure
    before: float
    now: float
    key: TurnKey | None = None
    path: CallPath | None = None
    most_in: TurnKey | None = None

    @property
    def change(self) -> float:
        """How much it rose; negative for a fall."""
        return self.now - self.before

    @property
    def share(self) -> float | None:
        """How much it rose as a share of what it was; None where that was 0."""
        return self.change / self.before if self.before else None

    @property
    def is_worse(self) -> bool:
        """Whether it is worse than it was: quality fell, or anything else rose."""
        return self.change < 0 if self.figure is Figure.QUALITY else self.change > 0


@dataclass(frozen=True, slots=True)
class Held:
    """A finding that does not fail, because it is known.

    Args:
        finding: what was found.
        case: the entry of the quarantine that covers it.
    """

    finding: Finding
    case: "Case"


@dataclass(frozen=True, slots=True)
class Drift:
    """What a run is, beside its baseline.

    Args:
        baseline: what it was held against.
        current: the run.
        gates: what was allowed.
        failures: what got worse by more than is allowed, the largest first.
        tolerated: what got worse by no more than is allowed.
        gains: what got better. No failure; the baseline should learn of it.
        held: what got worse and is in quarantine.
        expired: entries of the quarantine whose time is over. Each is a failure.
        causes: what else differs.
    """

    baseline: Baseline
    current: Baseline
    gates: Gates
    failures: tuple[Finding, ...]
    tolerated: tuple[Finding, ...]
    gains: tuple[Finding, ...]
    causes: Causes
    held: tuple[Held, ...] = ()
    expired: tuple["Case", ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether the gate is shut."""
        return bool(self.failures or self.expired)


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the largest change first; calls before what follows from them."""
    places = {figure: place for place, figure in enumerate(Figure)}

    def rank(finding: Finding) -> tuple[int, float, TurnKey, str]:
        key = finding.key or ("", -1)
        return places[finding.figure], -abs(finding.change), key, str(finding.path or "")

    return tuple(sorted(findings, key=rank))


def _call_findings(
    before: dict[str, int], now: dict[str, int], key: TurnKey | None
) -> list[Finding]:
    return [
        Finding(Figure.CALLS, before.get(path, 0), now.get(path, 0), key, CallPath.of(path))
        for path in sorted({*before, *now})
        if before.get(path, 0) != now.get(path, 0)
    ]


Measure = Callable[[TurnFigures], float | None]
Pairs = Sequence[tuple[TurnFigures, TurnFigures]]

_A_TURN: tuple[tuple[Figure, str, Measure], ...] = (
    (Figure.DEGRADED, "degraded", lambda turn: turn.degraded),
    (Figure.UNREADABLE, "unreadable", lambda turn: turn.unreadable),
    (Figure.REQUESTS, "requests", lambda turn: turn.requests),
    (Figure.ROUNDS_REPLY, "rounds", lambda turn: turn.rounds_reply),
    (Figure.ROUNDS_TURN, "rounds", lambda turn: turn.rounds_turn),
)
_A_RUN: tuple[tuple[Figure, str, Measure], ...] = (
    (Figure.TOKENS, "tokens", lambda turn: turn.tokens),
    (Figure.USD, "usd", lambda turn: turn.usd),
    (Figure.QUALITY, "quality", lambda turn: turn.quality),
)


def _known(figure: Figure, gate: str, measure: Measure, pairs: Pairs) -> list[tuple[float, float]]:
    """Return a figure of each turn, before and now.

    Raises:
        ConfigError: when a turn of either side does not know it.
    """
    found: list[tuple[float, float]] = []
    for turns in pairs:
        before, now = (measure(turn) for turn in turns)
        if before is None or now is None:
            side = "baseline" if before is None else "run"
            raise ConfigError(
                f"cannot gate {gate}: the {side} does not know the {figure} of turn "
                f"{turns[0].turn} of {turns[0].conversation!r}, and unknown is not 0; make both "
                f"from runs that know it, or leave out the gate {gate}"
            )
        found.append((before, now))
    return found


def _turn_findings(gates: Gates, pairs: Pairs) -> list[Finding]:
    found: list[Finding] = []
    for figure, gate, measure in _A_TURN:
        if getattr(gates, gate) is None:
            continue
        values = _known(figure, gate, measure, pairs)
        found += [
            Finding(figure, before, now, turns[0].key)
            for turns, (before, now) in zip(pairs, values, strict=True)
            if before != now
        ]
    return found


def _run_findings(gates: Gates, pairs: Pairs) -> list[Finding]:
    found: list[Finding] = []
    for figure, gate, measure in _A_RUN:
        if getattr(gates, gate) is None:
            continue
        values = _known(figure, gate, measure, pairs)
        divisor = len(values) if figure is Figure.QUALITY else 1
        before, now = (math.fsum(side) / divisor for side in zip(*values, strict=True))
        if abs(now - before) <= _ROUNDING * max(abs(before), abs(now)):
            continue
        whole = Finding(figure, before, now)
        turned = [(was - is_) if figure is Figure.QUALITY else (is_ - was) for was, is_ in values]
        worst = max(range(len(turned)), key=turned.__getitem__)
        most_in = pairs[worst][0].key if whole.is_worse else None
        found.append(Finding(figure, before, now, most_in=most_in))
    return found


_GATE_OF = {
    Figure.CALLS: "calls",
    **{figure: gate for figure, gate, _ in (*_A_TURN, *_A_RUN)},
}


def _is_allowed(finding: Finding, gates: Gates) -> bool:
    tolerance = getattr(gates, _GATE_OF[finding.figure]) or 0.0
    room = tolerance if finding.figure is Figure.QUALITY else tolerance * finding.before
    return abs(finding.change) <= room * (1 + _ROUNDING)


def compare(baseline: Baseline, current: Baseline, gates: Gates | None = None) -> Drift:
    """Return what a run is beside its baseline, every turn against itself.

    The comparison is exact. It says something of a run whose answers are given: one that
    was replayed or simulated (`require_exact` asks for that). For a live run, where calls
    vary by themselves, see `live`.

    Args:
        baseline: what is held to.
        current: the run.
        gates: what may get worse, and by how much; None holds calls, degradations and
            unreadable answers, at no rise.

    Raises:
        ConfigError: when the two cannot be compared (another app, preset or conversations,
            turns that are new or missing), or a gated figure is not known.
    """
    gates = gates or Gates()
    require_comparable(baseline, current)
    pairs = list(zip(baseline.turns, current.turns, strict=True))
    found = _call_findings(baseline.asked_outside, current.asked_outside, None)
    for before, now in pairs:
        found += _call_findings(before.asked, now.asked, before.key)
    found += _turn_findings(gates, pairs)
    found += _run_findings(gates, pairs)
    ordered = _in_order(found)
    worse = [finding for finding in ordered if finding.is_worse]
    return Drift(
        baseline=baseline,
        current=current,
        gates=gates,
        failures=tuple(finding for finding in worse if not _is_allowed(finding, gates)),
        tolerated=tuple(finding for finding in worse if _is_allowed(finding, gates)),
        gains=tuple(finding for finding in ordered if not finding.is_worse),
        causes=causes_between(baseline, current),
    )
