"""What the gate found, in plain lines. Names and values in them are untrusted: one line each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnwise.report.run_record import TurnKey
from turnwise.report.table import cell_text
from turnwise.safe_text import printable
from turnwise.testing.gate.baseline import Baseline, CallGroup
from turnwise.testing.gate.gate_comparison import (
    ChangeCauses,
    ChangedKnob,
    Finding,
    GateComparison,
    GatedFigure,
    causes_between,
)
from turnwise.testing.gate.gate_exceptions import GateException
from turnwise.testing.gate.live_gate import LiveComparison

__all__ = [
    "MAX_SHOWN",
    "FindingGroup",
    "PathNames",
    "calls_a_turn",
    "case_words",
    "cause_lines",
    "change_words",
    "counted",
    "finding_lines",
    "grouped",
    "knob_words",
    "live_lines",
    "live_verdict",
    "number",
    "share_words",
    "short",
    "unexplained",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings that differ in their turn only.

    Args:
        finding: the first of them.
        keys: their turns, in order; empty where the finding is of no turn.
    """

    finding: Finding
    keys: tuple[TurnKey, ...]

    @property
    def change_sum(self) -> float:
        """Their changes together."""
        return self.finding.change * max(len(self.keys), 1)


def grouped(findings: Iterable[Finding]) -> tuple[FindingGroup, ...]:
    """Return findings as groups, the largest change in all first; calls before the rest."""
    members: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        kind = (
            finding.figure,
            finding.path,
            finding.before,
            finding.now,
            finding.key is None,
            finding.most_in,
        )
        members.setdefault(kind, []).append(finding)
    groups = [
        FindingGroup(each[0], tuple(sorted(one.key for one in each if one.key is not None)))
        for each in members.values()
    ]
    places = {figure: place for place, figure in enumerate(GatedFigure)}
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                places[group.finding.figure],
                -abs(group.change_sum),
                str(group.finding.path or ""),
                group.keys,
            ),
        )
    )


class PathNames:
    """Short names of paths: node and purpose, and the role where it tells two apart.

    Args:
        baselines: whose paths are named.
    """

    def __init__(self, baselines: Sequence[Baseline]) -> None:
        texts = {
            text
            for baseline in baselines
            for asked in (baseline.asked_outside, *(turn.asked for turn in baseline.turns))
            for text in asked
        }
        roles: dict[tuple[str, str], set[str]] = {}
        for path in map(CallGroup.of, texts):
            roles.setdefault((path.node, path.purpose), set()).add(path.role)
        self._is_plain = {pair: len(names) == 1 for pair, names in roles.items()}

    def of(self, path: CallGroup) -> str:
        """Return the name of a path: `lats_search expand`, or `lats_search expand by fast`."""
        name = path.purpose if path.node == "-" else f"{path.node} {path.purpose}"
        return name if self._is_plain.get((path.node, path.purpose)) else f"{name} by {path.role}"


MAX_SHOWN = 10
"""Findings shown in a terminal; the rest is counted."""


_MAX_CAUSES_INLINE = 3


_MAX_CAUSES_SHOWN = 12


_MAX_NAME_CHARS = 80


def short(text: str) -> str:
    """Return a text in one line of bounded length, without what a terminal would obey."""
    whole = printable(text[: _MAX_NAME_CHARS + 1])
    return whole if len(whole) <= _MAX_NAME_CHARS else whole[: _MAX_NAME_CHARS - 1] + "…"


def number(value: float) -> str:
    """Return a figure for people."""
    return cell_text(value)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 turn`, `12 turns`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def share_words(finding: Finding) -> str:
    """Return how much of itself a figure changed: `+50 %`; `new` from nothing."""
    share = finding.share
    if finding.figure is GatedFigure.QUALITY:
        return f"{finding.change:+.3g}"
    if share is None:
        return "new"
    return f"{share * 100:+.0f} %" if abs(share) >= 0.1 else f"{share * 100:+.2g} %"


def change_words(finding: Finding, names: PathNames) -> str:
    """Return what changed: `lats_search expand 4 -> 6 (+50 %)`."""
    what = str(finding.figure) if finding.path is None else short(names.of(finding.path))
    figures = f"{number(finding.before)} -> {number(finding.now)}"
    return f"{what} {figures} ({share_words(finding)})"


def _turn_words(key: TurnKey) -> str:
    return f"turn {key[1]} of {short(key[0])}"


def _where(group: FindingGroup) -> str:
    if group.keys:
        more = len(group.keys) - 1
        rest = f" and {counted(more, 'more turn')}" if more else ""
        return f", {_turn_words(group.keys[0])}{rest}"
    if group.finding.path is not None:
        return ", outside of any turn"
    most = group.finding.most_in
    return " in the whole run" + (f", most in {_turn_words(most)}" if most else "")


def knob_words(change: ChangedKnob) -> str:
    """Return how a knob changed: `search.rollouts 4 -> 6`."""
    before, now = (("unset" if v is None else short(v)) for v in (change.before, change.now))
    return f"{short(change.knob)} {before} -> {now}"


def _since(causes: ChangeCauses) -> str:
    """Return the end of a finding's line: what else changed, by name where it is little."""
    if causes.are_none:
        return ""
    if len(causes.knobs) + len(causes.prompts) <= _MAX_CAUSES_INLINE:
        words = [f"knob {knob_words(change)}" for change in causes.knobs]
        words += [f"prompt {short(name)} changed" for name in causes.prompts]
        return ", since " + " and ".join(words)
    numbers = [
        counted(len(names), noun)
        for names, noun in ((causes.knobs, "knob"), (causes.prompts, "prompt"))
        if names
    ]
    return f", since {' and '.join(numbers)} changed"


def _listed(title: str, words: Sequence[str]) -> str:
    more = len(words) - _MAX_CAUSES_SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return f"{title}: {', '.join(words[:_MAX_CAUSES_SHOWN])}{rest}"


def unexplained(causes: ChangeCauses) -> str:
    """Return what may have changed where no knob and no prompt is known to have."""
    others = "the code or the model's answers did"
    if not causes.are_conversations_equal:
        others = "the code, the model's answers or the conversations did"
    if causes.are_prompts_known:
        return f"no knob and no prompt changed: {others}"
    return f"no knob changed, and the prompts are not recorded: a prompt, {others}"


def cause_lines(causes: ChangeCauses) -> list[str]:
    """Return what else changed, where a finding's own line has no room for it."""
    if causes.are_none:
        return [unexplained(causes)]
    if len(causes.knobs) + len(causes.prompts) <= _MAX_CAUSES_INLINE:
        return []
    lines = []
    if causes.knobs:
        lines.append(_listed("knobs that changed", [knob_words(each) for each in causes.knobs]))
    if causes.prompts:
        lines.append(_listed("prompts that changed", [short(name) for name in causes.prompts]))
    return lines


def case_words(case: GateException) -> str:
    """Return what an entry of the quarantine covers: `turn 7 of moving-*, node lats_search`."""
    parts = [] if case.turn is None else [f"turn {case.turn}"]
    if case.conversation != "*":
        parts.append(f"{'of ' if parts else ''}{short(case.conversation)}")
    words = " ".join(parts)
    if case.node != "*":
        words += f"{', ' if words else ''}node {short(case.node)}"
    return words


def _expired_lines(cases: Sequence[GateException]) -> list[str]:
    return [
        f"quarantine of {case_words(case)} ended on {case.until.isoformat()}: {short(case.owner)} "
        f"was to mend it ({short(case.reason)}); take the entry out, or give it a new day"
        for case in cases
    ]


def _group_lines(findings: Sequence[Finding], names: PathNames, since: str, most: int) -> list[str]:
    groups = grouped(findings)
    lines = [change_words(g.finding, names) + _where(g) + since for g in groups[:most]]
    if len(groups) > most:
        turns = len({key for group in groups[most:] for key in group.keys})
        lines.append(f"and {len(groups) - most} more like these, in {counted(turns, 'turn')}")
    return lines


def finding_lines(drift: GateComparison, *, max_shown: int = MAX_SHOWN) -> list[str]:
    """Return what was found, the largest first, a line each: failures, then what is known.

    Args:
        drift: what the run is beside its baseline.
        max_shown: most lines of each kind; the rest is counted.
    """
    names = PathNames((drift.baseline, drift.current))
    since = _since(drift.causes)
    lines = _group_lines(drift.failures, names, since, max_shown)
    if drift.failures:
        lines += cause_lines(drift.causes)
    lines += _expired_lines(drift.expired)
    by_case: dict[GateException, list[Finding]] = {}
    for held in drift.held:
        by_case.setdefault(held.case, []).append(held.finding)
    for case, findings in by_case.items():
        known = f" (in quarantine until {case.until.isoformat()}, {short(case.owner)})"
        lines += _group_lines(findings, names, known, max_shown)
    lines += _group_lines(drift.tolerated, names, " (allowed)", max_shown)
    if drift.gains and drift.failures:
        # Beside a failure a list of savings is noise.
        places = counted(_turn_count(drift.gains) or 1, "turn")
        return [*lines, f"{counted(len(drift.gains), 'figure')} got better, in {places}"]
    return lines + _group_lines(drift.gains, names, " (better: --update keeps it)", max_shown)


def calls_a_turn(drift: GateComparison) -> tuple[str, str]:
    """Return mean calls a turn of baseline and run, with digits enough to differ if they do."""
    means = drift.baseline.mean_calls_a_turn, drift.current.mean_calls_a_turn
    for digits in range(1, 7):
        before, now = (f"{mean:.{digits}f}" for mean in means)
        if before != now or means[0] == means[1]:
            break
    return before, now


def _over(drift: GateComparison) -> str:
    label = " (simulated)" if drift.current.is_simulated else ""
    refused = drift.current.refused_count
    more = f", {counted(refused, 'more call')} refused by a limit" if refused else ""
    return f"over {counted(len(drift.current.turns), 'turn')}{more}{label}"


def _turn_count(findings: Sequence[Finding]) -> int:
    return len({finding.key for finding in findings if finding.key is not None})


def _failed(drift: GateComparison, name: str) -> str:
    before, now = calls_a_turn(drift)
    reasons = []
    if drift.failures:
        turns = _turn_count(drift.failures)
        words = counted(len(drift.failures), "figure")
        places = f" in {counted(turns, 'turn')}" if turns else ""
        reasons.append(f"{words} got worse{places}")
    if drift.expired:
        expired = counted(len(drift.expired), "quarantine entry", "quarantine entries")
        reasons.append(f"{expired} expired")
    return (
        f"failed: {before} -> {now} calls a turn {_over(drift)}, {' and '.join(reasons)}, "
        f"against {name}"
    )


def verdict(drift: GateComparison, name: str) -> str:
    """Return the one line that says how it went.

    Args:
        drift: what the run is beside its baseline.
        name: what to call the baseline: its file.
    """
    if drift.has_failed:
        return _failed(drift, name)
    before, now = calls_a_turn(drift)
    line = f"ok: {now} calls a turn {_over(drift)}, "
    line += f"as in {name}" if before == now else f"{before} in {name}"
    if drift.tolerated:
        line += f"; {counted(len(drift.tolerated), 'figure')} worse, as is allowed"
    if drift.held:
        line += f"; {counted(len(drift.held), 'figure')} worse, in quarantine"
    if drift.gains:
        line += f"; {counted(len(drift.gains), 'figure')} fell or got better: --update keeps it"
    return line


def _share(rate: float) -> str:
    return f"{rate * 100:g} %"


def live_verdict(live: LiveComparison, name: str) -> str:
    """Return the one line that says how a live run went; see `verdict`."""
    over = f"over {counted(live.turns, 'turn')} of {counted(live.conversations, 'conversation')}"
    test = f"p = {live.p_value:.2g}, false-alarm rate {_share(live.alpha)}"
    held = f"; {counted(live.held_turns, 'turn')} with calls in quarantine" * bool(live.held_turns)
    figures = f"{live.before:.2f} -> {live.now:.2f} calls a turn {over}"
    if live.has_risen:
        return f"failed: {figures}, more than noise ({test}), against {name}{held}"
    if live.expired:
        expired = counted(len(live.expired), "quarantine entry", "quarantine entries")
        return f"failed: {figures}, {expired} expired ({test}), against {name}{held}"
    return f"ok: {figures}, no more than noise can do ({test}), against {name}{held}"


def live_lines(live: LiveComparison, *, max_shown: int = MAX_SHOWN) -> list[str]:
    """Return where calls of a live run rose, the largest first, a line each."""
    names = PathNames((live.baseline, live.current))
    lines: list[str] = []
    if live.has_risen:
        causes = causes_between(live.baseline, live.current)
        rises = [(path, rise) for path, rise in live.by_path if rise > 0]
        lines += [
            f"{short(names.of(path))} {rise:+.2f} calls a turn{_since(causes)}"
            for path, rise in rises[:max_shown]
        ]
        if len(rises) > max_shown:
            lines.append(f"and {len(rises) - max_shown} more")
        lines += cause_lines(causes)
    return lines + _expired_lines(live.expired)
