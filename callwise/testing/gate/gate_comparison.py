"""A run compared with its baseline: what rose, what fell, and what may have caused it.

Each turn is compared with itself. A run and a baseline are comparable when app, preset,
conversations and turns are the same, and both or neither are simulated.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.knobs.gates import Gates
from callwise.report.run_record import TurnKey
from callwise.safe_text import printable
from callwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from callwise.testing.gate.gate_exceptions import GateException, Quarantine
from callwise.testing.gate.gated_figures import GATE_OF, PER_RUN, PER_TURN, GatedFigure, Measure

__all__ = [
    "ChangeCauses",
    "ChangedKnob",
    "Finding",
    "GateComparison",
    "GatedFigure",
    "LiveTest",
    "causes_between",
    "compare",
    "mismatch",
    "require_comparable",
    "require_exact",
]

_ROUNDING = 1e-9
"""A relative change that is none: sums of floats may differ in their last digits."""

_UPDATE = "if that is intended, make the baseline again with --update"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure that changed.

    Args:
        key: conversation and turn; None outside of turns, and for a figure of the whole run.
        path: node, role and purpose, for calls; None for any other figure.
        most_in: of a figure of the whole run that got worse, the turn that did so most.
        exception: the entry of the quarantine that covers it, so that it does not fail the gate.
    """

    figure: GatedFigure
    before: float
    now: float
    key: TurnKey | None = None
    path: CallGroup | None = None
    most_in: TurnKey | None = None
    exception: GateException | None = None

    @property
    def change(self) -> float:
        """The rise; negative for a fall."""
        return self.now - self.before

    @property
    def share(self) -> float | None:
        """The rise as a share of `before`; None where that was 0."""
        return self.change / self.before if self.before else None

    @property
    def is_worse(self) -> bool:
        """Whether quality fell, or anything else rose."""
        return self.change < 0 if self.figure is GatedFigure.QUALITY else self.change > 0


@dataclass(frozen=True, slots=True)
class ChangedKnob:
    """One knob that differs; `before` and `now` are JSON, None where it has its default."""

    knob: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class ChangeCauses:
    """Differences between a baseline and a run, apart from its figures.

    Args:
        prompts: names of the prompts that differ, were added or are gone.
        moved: former and present name of prompts that another node or sub-agent asks now.
        are_prompts_known: whether both record their prompts.
        are_conversations_equal: whether both record conversations, the same ones.
    """

    knobs: tuple[ChangedKnob, ...] = ()
    prompts: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    are_prompts_known: bool = True
    are_conversations_equal: bool = True

    @property
    def are_none(self) -> bool:
        """Whether no knob and no prompt is known to differ."""
        return not self.knobs and not self.prompts and not self.moved


@dataclass(frozen=True, slots=True)
class LiveTest:
    """Test of a live run against a baseline; see `live_gate`.

    Args:
        p_value: share of equally likely pairs with a rise as large; in (0, 1].
        before: mean calls per turn of the baseline, excepted ones left out.
        now: mean calls per turn of the run, likewise.
        by_path: mean rise in calls per turn by node, role and purpose, the largest first;
            zeros left out.
        excepted_turns: turns with calls that were left out.
    """

    alpha: float
    p_value: float
    turns: int
    conversations: int
    before: float
    now: float
    by_path: tuple[tuple[CallGroup, float], ...]
    excepted_turns: int = 0

    @property
    def has_risen(self) -> bool:
        """Whether the rise is more than noise, at this rate."""
        return self.p_value <= self.alpha


@dataclass(frozen=True, slots=True)
class GateComparison:
    """A run and its baseline, compared exactly, or by a test where `live` is set.

    Args:
        tolerated: what got worse by no more than is allowed.
        gains: what got better. No failure; the baseline should be updated.
        expired: exceptions past their last day. Each is a failure.
        live: the test of a live run, which has no findings; None for an exact comparison.
    """

    baseline: Baseline
    current: Baseline
    causes: ChangeCauses
    failures: tuple[Finding, ...] = ()
    tolerated: tuple[Finding, ...] = ()
    gains: tuple[Finding, ...] = ()
    excepted: tuple[Finding, ...] = ()
    expired: tuple[GateException, ...] = ()
    live: LiveTest | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the gate fails."""
        has_risen = self.live is not None and self.live.has_risen
        return bool(self.failures or self.expired or has_risen)


def _json(knobs: Mapping[str, JsonValue], name: str) -> str | None:
    if name not in knobs:
        return None
    return json.dumps(knobs[name], ensure_ascii=False, sort_keys=True)


_PARTS = (" tools", " schema")
"""Ends of names of what is fixed in the calls of a node besides the texts."""


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the former and the present name of each prompt that has only another name now."""
    added = sorted(now.keys() - before.keys())
    pairs = []
    for gone in sorted(before.keys() - now.keys()):
        end = next((part for part in _PARTS if gone.endswith(part)), "")
        same = [name for name in added if now[name] == before[gone] and name.endswith(end)]
        if same:
            pairs.append((gone, same[0]))
            added.remove(same[0])
    return pairs


def _without_parts(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the pairs, those of a node's tools and schema left out where the node's is there."""
    parts = {(gone + end, name + end) for gone, name in pairs for end in _PARTS}
    return tuple(pair for pair in pairs if pair not in parts)


def causes_between(baseline: Baseline, current: Baseline) -> ChangeCauses:
    """Return what differs between a baseline and a run, apart from its figures."""
    names = sorted({*baseline.knobs, *current.knobs})
    changes = [
        ChangedKnob(name, _json(baseline.knobs, name), _json(current.knobs, name)) for name in names
    ]
    are_known = baseline.prompts is not None and current.prompts is not None
    before, now = (side.prompts or {} if are_known else {} for side in (baseline, current))
    moved = _moved(before, now)
    differing = {name for name in {*before, *now} if before.get(name) != now.get(name)}
    return ChangeCauses(
        knobs=tuple(change for change in changes if change.before != change.now),
        prompts=tuple(sorted(differing.difference(*moved))),
        moved=_without_parts(moved),
        are_prompts_known=are_known,
        are_conversations_equal=baseline.conversations is not None
        and baseline.conversations == current.conversations,
    )


def _named(name: str) -> str:
    return repr(printable(name)) if name else "none"


def _turn_words(turns: list[TurnKey]) -> str:
    first = f"turn {turns[0][1]} of {_named(turns[0][0])}"
    return first if len(turns) == 1 else f"{len(turns)} turns, the first {first}"


def mismatch(baseline: Baseline, current: Baseline) -> tuple[str, str] | None:
    """Return the problem and what to do, where the two are not comparable; else None."""
    for what, before, now in (
        ("app", baseline.app, current.app),
        ("preset", baseline.preset, current.preset),
    ):
        if before != now:
            return (
                f"the baseline is of the {what} {_named(before)} and the run of {_named(now)}",
                f"give the baseline of that {what}, or {_UPDATE}",
            )
    if baseline.is_simulated != current.is_simulated:
        simulated, other = ("baseline", "run") if baseline.is_simulated else ("run", "baseline")
        return (
            f"the {simulated} is simulated and the {other} is not",
            f"give a baseline of the same kind, or {_UPDATE}",
        )
    if not baseline.turns and not baseline.asked_outside:
        return "the baseline has no turn and no call", _UPDATE
    if None not in (baseline.conversations, current.conversations) and (
        baseline.conversations != current.conversations
    ):
        return (
            "the run is of other conversations than the baseline, so its turns are not the same",
            f"replay the conversations of the baseline, or {_UPDATE}",
        )
    before_keys = {turn.key for turn in baseline.turns}
    now_keys = {turn.key for turn in current.turns}
    if lost := sorted(before_keys - now_keys):
        again = "run the same `callwise replay` again to finish it"
        if current.conversations is None:  # calls of a test's own program
            again = "the program asked nothing there, see why it ended early"
        return (
            f"the run lacks turns of the baseline: {_turn_words(lost)}",
            f"{again}, or {_UPDATE}",
        )
    if added := sorted(now_keys - before_keys):
        return f"the run has turns that the baseline lacks: {_turn_words(added)}", _UPDATE
    return None


def require_comparable(baseline: Baseline, current: Baseline) -> None:
    """Refuse a run and a baseline of different things; see `mismatch`.

    Raises:
        ConfigError: with the reason and what to do.
    """
    if (found := mismatch(baseline, current)) is not None:
        raise ConfigError("; ".join(found))


def require_exact(current: Baseline) -> None:
    """Refuse a run whose counts may differ each time.

    Raises:
        ConfigError: when it is live.
    """
    if not current.is_exact:
        raise ConfigError(
            "this run is live: its model may answer differently each time, and an exact gate would "
            "alarm for that; check a replay of its recording (`callwise replay ... --cassette "
            "FILE --out DIR`), or use --live for a test with a stated false-alarm rate"
        )


Pairs = Sequence[tuple[TurnFigures, TurnFigures]]


def _known(
    figure: GatedFigure, gate: str, measure: Measure, pairs: Pairs
) -> list[tuple[float, float]]:
    """Return a figure of each turn, before and now.

    Raises:
        ConfigError: when it is unknown in a turn of either side.
    """
    found: list[tuple[float, float]] = []
    for turns in pairs:
        before, now = (measure(turn) for turn in turns)
        if before is None or now is None:
            side = "baseline" if before is None else "run"
            raise ConfigError(
                f"cannot gate {gate}: the {side} does not record the {figure} of turn "
                f"{turns[0].turn} of {turns[0].conversation!r}, and unknown is not 0; make both "
                f"from runs that record it, or leave out the gate {gate}"
            )
        found.append((before, now))
    return found


def _call_findings(
    before: dict[str, int], now: dict[str, int], key: TurnKey | None
) -> list[Finding]:
    return [
        Finding(GatedFigure.CALLS, before.get(path, 0), now.get(path, 0), key, CallGroup.of(path))
        for path in sorted({*before, *now})
        if before.get(path, 0) != now.get(path, 0)
    ]


def _turn_findings(gates: Gates, pairs: Pairs) -> list[Finding]:
    return [
        Finding(figure, before, now, turns[0].key)
        for figure, gate, measure in PER_TURN
        if getattr(gates, gate) is not None
        for turns, (before, now) in zip(pairs, _known(figure, gate, measure, pairs), strict=True)
        if before != now
    ]


def _run_findings(gates: Gates, pairs: Pairs) -> list[Finding]:
    found: list[Finding] = []
    for figure, gate, measure in PER_RUN:
        if getattr(gates, gate) is None:
            continue
        values = _known(figure, gate, measure, pairs)
        divisor = len(values) if figure is GatedFigure.QUALITY else 1
        before, now = (math.fsum(side) / divisor for side in zip(*values, strict=True))
        if abs(now - before) <= _ROUNDING * max(abs(before), abs(now)):
            continue
        sign = -1 if figure is GatedFigure.QUALITY else 1
        worsening = [sign * (is_ - was) for was, is_ in values]
        worst = max(range(len(worsening)), key=worsening.__getitem__)
        most_in = pairs[worst][0].key if sign * (now - before) > 0 else None
        found.append(Finding(figure, before, now, most_in=most_in))
    return found


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the largest change first; calls before what follows from them."""
    places = {figure: place for place, figure in enumerate(GatedFigure)}

    def rank(finding: Finding) -> tuple[int, float, TurnKey, str]:
        key = finding.key or ("", -1)
        return places[finding.figure], -abs(finding.change), key, str(finding.path or "")

    return tuple(sorted(findings, key=rank))


def _is_allowed(finding: Finding, gates: Gates) -> bool:
    tolerance = getattr(gates, GATE_OF[finding.figure]) or 0.0
    most = tolerance if finding.figure is GatedFigure.QUALITY else tolerance * finding.before
    return abs(finding.change) <= most * (1 + _ROUNDING)


def compare(
    baseline: Baseline,
    current: Baseline,
    gates: Gates | None = None,
    *,
    quarantine: Quarantine | None = None,
) -> GateComparison:
    """Return an exact comparison of a run with its baseline, turn by turn.

    It is meaningful for a run whose answers are given: one that was replayed or simulated
    (`require_exact` asks for that). For a live run see `live_gate`.

    Args:
        gates: what may get worse, and by how much; None gates calls, degradations and
            unreadable answers, at no rise.
        quarantine: findings that it covers do not fail; its expired exceptions do. A figure of
            the whole run is covered by none.

    Raises:
        ConfigError: when the two cannot be compared (another app, preset or conversations,
            turns that are new or missing), or a gated figure is not known.
    """
    gates, quarantine = gates or Gates(), quarantine or Quarantine()
    require_comparable(baseline, current)
    pairs = list(zip(baseline.turns, current.turns, strict=True))
    found = _call_findings(baseline.asked_outside, current.asked_outside, None)
    for before, now in pairs:
        found += _call_findings(before.asked, now.asked, before.key)
    ordered = _in_order([*found, *_turn_findings(gates, pairs), *_run_findings(gates, pairs)])
    worse = [finding for finding in ordered if finding.is_worse]
    too_much = [
        replace(each, exception=_exception_of(each, quarantine))
        for each in worse
        if not _is_allowed(each, gates)
    ]
    return GateComparison(
        baseline=baseline,
        current=current,
        causes=causes_between(baseline, current),
        failures=tuple(each for each in too_much if each.exception is None),
        tolerated=tuple(each for each in worse if _is_allowed(each, gates)),
        gains=tuple(each for each in ordered if not each.is_worse),
        excepted=tuple(each for each in too_much if each.exception is not None),
        expired=quarantine.expired,
    )


def _exception_of(finding: Finding, quarantine: Quarantine) -> GateException | None:
    if finding.key is None and finding.path is None:  # a figure of the whole run
        return None
    return quarantine.exception_of(finding.key, finding.path.node if finding.path else None)
