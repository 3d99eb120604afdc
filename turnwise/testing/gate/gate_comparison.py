"""A run held against its baseline: what rose, what fell, and what may have caused it."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import JsonValue

from turnwise.calls.errors import ConfigError
from turnwise.report.run_record import TurnKey
from turnwise.safe_text import printable
from turnwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from turnwise.testing.gate.gates import Gates

if TYPE_CHECKING:
    from turnwise.testing.gate.gate_exceptions import GateException

__all__ = [
    "ChangeCauses",
    "ChangedKnob",
    "ExceptedFinding",
    "Finding",
    "GateComparison",
    "GatedFigure",
    "Mismatch",
    "causes_between",
    "compare",
    "mismatch",
    "require_comparable",
    "require_exact",
]


@dataclass(frozen=True, slots=True)
class ChangedKnob:
    """One knob that differs.

    Args:
        knob: its dotted name.
        before: its value in the baseline as JSON; None where the baseline has no such knob.
        now: its value in the run, likewise.
    """

    knob: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class ChangeCauses:
    """What differs between a baseline and a run, apart from its figures.

    Args:
        knobs: the knobs that differ, by name.
        prompts: names of the prompts that differ, were added or are gone.
        are_prompts_known: whether both say what their prompts were.
        are_conversations_equal: whether both say that they are of the same conversations.
    """

    knobs: tuple[ChangedKnob, ...] = ()
    prompts: tuple[str, ...] = ()
    are_prompts_known: bool = True
    are_conversations_equal: bool = True

    @property
    def are_none(self) -> bool:
        """Whether no knob and no prompt is known to differ."""
        return not self.knobs and not self.prompts


def _json(knobs: Mapping[str, JsonValue], name: str) -> str | None:
    if name not in knobs:
        return None
    return json.dumps(knobs[name], ensure_ascii=False, sort_keys=True)


def causes_between(baseline: "Baseline", current: "Baseline") -> ChangeCauses:
    """Return what differs between a baseline and a run."""
    names = sorted({*baseline.knobs, *current.knobs})
    changes = [
        ChangedKnob(name, _json(baseline.knobs, name), _json(current.knobs, name)) for name in names
    ]
    before, now = baseline.prompts, current.prompts
    are_known = before is not None and now is not None
    prompts = sorted({*(before or {}), *(now or {})}) if are_known else []
    return ChangeCauses(
        knobs=tuple(change for change in changes if change.before != change.now),
        prompts=tuple(
            name for name in prompts if (before or {}).get(name) != (now or {}).get(name)
        ),
        are_prompts_known=are_known,
        are_conversations_equal=baseline.conversations is not None
        and baseline.conversations == current.conversations,
    )


_ROUNDING = 1e-9
"""A share of a figure that is no change: sums of floats may differ in their last digits."""


class GatedFigure(StrEnum):
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

    figure: GatedFigure
    before: float
    now: float
    key: TurnKey | None = None
    path: CallGroup | None = None
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
        return self.change < 0 if self.figure is GatedFigure.QUALITY else self.change > 0


@dataclass(frozen=True, slots=True)
class ExceptedFinding:
    """A finding that does not fail, because it is known.

    Args:
        finding: what was found.
        case: the entry of the quarantine that covers it.
    """

    finding: Finding
    case: "GateException"


@dataclass(frozen=True, slots=True)
class GateComparison:
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
    causes: ChangeCauses
    held: tuple[ExceptedFinding, ...] = ()
    expired: tuple["GateException", ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether the gate is shut."""
        return bool(self.failures or self.expired)


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the largest change first; calls before what follows from them."""
    places = {figure: place for place, figure in enumerate(GatedFigure)}

    def rank(finding: Finding) -> tuple[int, float, TurnKey, str]:
        key = finding.key or ("", -1)
        return places[finding.figure], -abs(finding.change), key, str(finding.path or "")

    return tuple(sorted(findings, key=rank))


def _call_findings(
    before: dict[str, int], now: dict[str, int], key: TurnKey | None
) -> list[Finding]:
    return [
        Finding(GatedFigure.CALLS, before.get(path, 0), now.get(path, 0), key, CallGroup.of(path))
        for path in sorted({*before, *now})
        if before.get(path, 0) != now.get(path, 0)
    ]


Measure = Callable[[TurnFigures], float | None]


Pairs = Sequence[tuple[TurnFigures, TurnFigures]]


_A_TURN: tuple[tuple[GatedFigure, str, Measure], ...] = (
    (GatedFigure.DEGRADED, "degraded", lambda turn: turn.degraded),
    (GatedFigure.UNREADABLE, "unreadable", lambda turn: turn.unreadable),
    (GatedFigure.REQUESTS, "requests", lambda turn: turn.requests),
    (GatedFigure.ROUNDS_REPLY, "rounds", lambda turn: turn.rounds_reply),
    (GatedFigure.ROUNDS_TURN, "rounds", lambda turn: turn.rounds_turn),
)


_A_RUN: tuple[tuple[GatedFigure, str, Measure], ...] = (
    (GatedFigure.TOKENS, "tokens", lambda turn: turn.tokens),
    (GatedFigure.USD, "usd", lambda turn: turn.usd),
    (GatedFigure.QUALITY, "quality", lambda turn: turn.quality),
)


def _known(
    figure: GatedFigure, gate: str, measure: Measure, pairs: Pairs
) -> list[tuple[float, float]]:
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
        divisor = len(values) if figure is GatedFigure.QUALITY else 1
        before, now = (math.fsum(side) / divisor for side in zip(*values, strict=True))
        if abs(now - before) <= _ROUNDING * max(abs(before), abs(now)):
            continue
        whole = Finding(figure, before, now)
        turned = [
            (was - is_) if figure is GatedFigure.QUALITY else (is_ - was) for was, is_ in values
        ]
        worst = max(range(len(turned)), key=turned.__getitem__)
        most_in = pairs[worst][0].key if whole.is_worse else None
        found.append(Finding(figure, before, now, most_in=most_in))
    return found


_GATE_OF = {
    GatedFigure.CALLS: "calls",
    **{figure: gate for figure, gate, _ in (*_A_TURN, *_A_RUN)},
}


def _is_allowed(finding: Finding, gates: Gates) -> bool:
    tolerance = getattr(gates, _GATE_OF[finding.figure]) or 0.0
    room = tolerance if finding.figure is GatedFigure.QUALITY else tolerance * finding.before
    return abs(finding.change) <= room * (1 + _ROUNDING)


def compare(baseline: Baseline, current: Baseline, gates: Gates | None = None) -> GateComparison:
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
    return GateComparison(
        baseline=baseline,
        current=current,
        gates=gates,
        failures=tuple(finding for finding in worse if not _is_allowed(finding, gates)),
        tolerated=tuple(finding for finding in worse if _is_allowed(finding, gates)),
        gains=tuple(finding for finding in ordered if not finding.is_worse),
        causes=causes_between(baseline, current),
    )


_UPDATE = "if that is meant, make the baseline anew with --update"


def _named(name: str) -> str:
    return repr(printable(name)) if name else "none"


def _turn_words(turns: list[tuple[str, int]]) -> str:
    conversation, turn = turns[0]
    first = f"turn {turn} of {_named(conversation)}"
    return first if len(turns) == 1 else f"{len(turns)} turns, the first {first}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a run and a baseline cannot be held against each other.

    Args:
        problem: in words.
        way_out: what to do.
    """

    problem: str
    way_out: str


def _of_another_kind(baseline: Baseline, current: Baseline) -> Mismatch | None:
    for what, before, now in (
        ("app", baseline.app, current.app),
        ("preset", baseline.preset, current.preset),
    ):
        if before != now:
            return Mismatch(
                f"the baseline is of the {what} {_named(before)} and the run of {_named(now)}",
                f"give the baseline of that {what}, or {_UPDATE}",
            )
    if baseline.is_simulated != current.is_simulated:
        simulated, other = ("baseline", "run") if baseline.is_simulated else ("run", "baseline")
        return Mismatch(
            f"the {simulated} is simulated and the {other} is not: their answers have nothing in "
            "common",
            f"give a baseline of the same kind, or {_UPDATE}",
        )
    return None


def mismatch(baseline: Baseline, current: Baseline) -> Mismatch | None:
    """Return why two cannot be held against each other; None when they can.

    They can when app, preset, conversations and turns are the same, and both or none are
    simulated.
    """
    if (kind := _of_another_kind(baseline, current)) is not None:
        return kind
    if not baseline.turns and not baseline.asked_outside:
        return Mismatch("the baseline holds no turn and no call", _UPDATE)
    if None not in (baseline.conversations, current.conversations) and (
        baseline.conversations != current.conversations
    ):
        return Mismatch(
            "the run is of other conversations than the baseline, so that its turns are not the "
            "same turns",
            f"replay the conversations of the baseline, or {_UPDATE}",
        )
    before_keys = {turn.key for turn in baseline.turns}
    now_keys = {turn.key for turn in current.turns}
    if lost := sorted(before_keys - now_keys):
        again = "run the same `turnwise replay` again to finish it"
        if current.settings is None:  # what a test's own program asked
            again = "the program asked nothing there, see why it ended early"
        return Mismatch(
            f"the run lacks what the baseline holds: {_turn_words(lost)}", f"{again}, or {_UPDATE}"
        )
    if added := sorted(now_keys - before_keys):
        return Mismatch(f"the run has what the baseline lacks: {_turn_words(added)}", _UPDATE)
    return None


def require_comparable(baseline: Baseline, current: Baseline) -> None:
    """Return when a run is of what the baseline is of; see `mismatch`.

    Raises:
        ConfigError: when it is not; says why, and the way out.
    """
    found = mismatch(baseline, current)
    if found is not None:
        raise ConfigError(f"{found.problem}; {found.way_out}")


def require_exact(current: Baseline) -> None:
    """Return when a run's counts are the same each time that it is run.

    Raises:
        ConfigError: when it is live: its model may answer otherwise tomorrow.
    """
    if not current.is_exact:
        raise ConfigError(
            "this run is live: its model may answer otherwise each time, and an exact gate would "
            "alarm for that; check a replay of its recording (`turnwise replay ... --cassette "
            "FILE --out DIR`), or use --live for a test with a stated false-alarm rate"
        )
