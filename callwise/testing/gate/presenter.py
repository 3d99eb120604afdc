"""A comparison in plain lines: one verdict, and one line per group of equal findings.

Ids, node names and knob values are untrusted: each is shown in one line, of bounded length.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from callwise.calls.errors import ConfigError, FormatError
from callwise.report.run_record import TurnKey
from callwise.report.table import cell_text as number
from callwise.safe_text import printable
from callwise.testing.gate.baseline import Baseline, CallGroup
from callwise.testing.gate.gate_comparison import (
    ChangeCauses,
    ChangedKnob,
    Finding,
    GateComparison,
    GatedFigure,
    LiveTest,
    compare,
    mismatch,
)
from callwise.testing.gate.gate_exceptions import GateException
from callwise.text_layout import counted

__all__ = [
    "FindingRow",
    "PathNames",
    "Renewal",
    "by_exception",
    "excepted_lines",
    "finding_lines",
    "finding_rows",
    "knob_words",
    "mean_words",
    "renew",
    "renewal",
    "short",
    "unexplained",
    "verdict",
]

MAX_SHOWN = 10
"""Findings of a kind shown in a terminal; the rest is counted."""

_MAX_CAUSES_INLINE = 3
_MAX_CAUSES_SHOWN = 12
_MAX_NAME_CHARS = 80

Quote = Callable[[str], str]
"""Makes untrusted text safe in a form."""


def short(text: str) -> str:
    """Return a text in one line of bounded length, without control characters."""
    whole = printable(text[: _MAX_NAME_CHARS + 1])
    return whole if len(whole) <= _MAX_NAME_CHARS else whole[: _MAX_NAME_CHARS - 1] + "…"


# One row per group of equal findings.


class PathNames:
    """Short names of paths: node and purpose, and the role where several roles have both."""

    def __init__(self, comparison: GateComparison) -> None:
        paths = {
            CallGroup.of(text)
            for side in (comparison.baseline, comparison.current)
            for asked in (side.asked_outside, *(turn.asked for turn in side.turns))
            for text in asked
        }
        self._roles = Counter((path.node, path.purpose) for path in paths)

    def of(self, path: CallGroup) -> str:
        """Return the name of a path: `lats_search expand`, or `lats_search expand by fast`."""
        name = path.purpose if path.node == "-" else f"{path.node} {path.purpose}"
        return name if self._roles[path.node, path.purpose] == 1 else f"{name} by {path.role}"


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Findings that differ in their turn only: the first of them, and all their turns."""

    finding: Finding
    keys: tuple[TurnKey, ...]
    name: str

    @property
    def share(self) -> str:
        """The relative change: `+50 %`; `new` from nothing; absolute for quality."""
        finding = self.finding
        if finding.figure is GatedFigure.QUALITY:
            return f"{finding.change:+.3g}"
        if finding.share is None:
            return "new"
        percent = finding.share * 100
        return f"{percent:+.0f} %" if abs(percent) >= 10 else f"{percent:+.2g} %"

    @property
    def change(self) -> str:
        """The change: `lats_search expand 4 -> 6 (+50 %)`."""
        before, now = number(self.finding.before), number(self.finding.now)
        return f"{self.what(short)} {before} -> {now} ({self.share})"

    def what(self, quote: Quote) -> str:
        """Return the figure, or node and purpose of calls."""
        return str(self.finding.figure) if self.finding.path is None else quote(self.name)

    def place(self, quote: Quote) -> str:
        """Return the place: `turn 1 of one and 3 more turns`."""
        if self.keys:
            more = len(self.keys) - 1
            rest = f" and {counted(more, 'more turn')}" if more else ""
            return f"turn {self.keys[0][1]} of {quote(self.keys[0][0])}{rest}"
        if self.finding.path is not None:
            return "outside of any turn"
        most = self.finding.most_in
        return "whole run" + (f", most in turn {most[1]} of {quote(most[0])}" if most else "")


def finding_rows(findings: Iterable[Finding], names: PathNames) -> list[FindingRow]:
    """Return groups of equal findings, the largest change in all first; calls before the rest."""
    members: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        kind = (each.figure, each.path, each.before, each.now, each.key is None, each.most_in)
        members.setdefault(kind, []).append(each)
    rows = [
        FindingRow(
            group[0],
            tuple(sorted(each.key for each in group if each.key is not None)),
            "" if group[0].path is None else names.of(group[0].path),
        )
        for group in members.values()
    ]
    places = {figure: place for place, figure in enumerate(GatedFigure)}

    def rank(row: FindingRow) -> tuple[int, float, str, tuple[TurnKey, ...]]:
        change_sum = row.finding.change * max(len(row.keys), 1)
        path = str(row.finding.path or "")
        return places[row.finding.figure], -abs(change_sum), path, row.keys

    return sorted(rows, key=rank)


def by_exception(comparison: GateComparison) -> Iterator[tuple[GateException, list[Finding]]]:
    """Yield each exception that covers findings, with them."""
    found: dict[GateException, list[Finding]] = {}
    for each in comparison.excepted:
        if each.exception is not None:
            found.setdefault(each.exception, []).append(each)
    yield from found.items()


# Causes: knobs and prompts that changed.


def knob_words(change: ChangedKnob) -> str:
    """Return how a knob changed: `search.rollouts 4 -> 6`."""
    before, now = (("default" if v is None else short(v)) for v in (change.before, change.now))
    return f"{short(change.knob)} {before} -> {now}"


def _cause_words(causes: ChangeCauses) -> list[str]:
    """Return each knob and prompt that changed, knobs first."""
    words = [f"knob {knob_words(each)}" for each in causes.knobs]
    words += [f"prompt moved from {short(gone)} to {short(name)}" for gone, name in causes.moved]
    return words + [f"prompt {short(name)} changed" for name in causes.prompts]


def _since(causes: ChangeCauses) -> str:
    """Return the end of a finding's line: changed knobs and prompts, by name where they are few."""
    words = _cause_words(causes)
    if len(words) > _MAX_CAUSES_INLINE:
        return f", since {len(words)} knobs and prompts changed"
    return f", since {' and '.join(words)}" if words else ""


def unexplained(causes: ChangeCauses) -> str:
    """Return the causes left where no knob and no prompt is known to have changed."""
    others = "the code or the model's answers did"
    if not causes.are_conversations_equal:
        others = "the code, the model's answers or the conversations did"
    if causes.are_prompts_known:
        return f"no knob and no prompt changed: {others}"
    return f"no knob changed, and the prompts are not recorded: a prompt, {others}"


def _first(lines: Sequence[str], most: int, rest: str = "more") -> list[str]:
    """Return the first lines, and the number of the others."""
    more = len(lines) - most
    return [*lines[:most], f"and {more} {rest}"] if more > 0 else list(lines)


def _cause_lines(causes: ChangeCauses) -> list[str]:
    """Return the causes for which a finding's own line has no space."""
    if causes.are_none:
        return [unexplained(causes)]
    words = _cause_words(causes)
    if len(words) <= _MAX_CAUSES_INLINE:
        return []
    return [f"changed: {', '.join(_first(words, _MAX_CAUSES_SHOWN))}"]


# Text.


def _exception_words(exception: GateException) -> str:
    """Return the cases of an exception: `turn 7 of moving-*, node lats_search`."""
    parts = [] if exception.turn is None else [f"turn {exception.turn}"]
    if exception.conversation != "*":
        parts.append(f"{'of ' if parts else ''}{short(exception.conversation)}")
    words = " ".join(parts)
    if exception.node != "*":
        words += f"{', ' if words else ''}node {short(exception.node)}"
    return words


def _expired_lines(exceptions: Sequence[GateException]) -> list[str]:
    return [
        f"quarantine of {_exception_words(each)} ended on {each.until.isoformat()}: "
        f"{short(each.owner)} was to fix it ({short(each.reason)}); remove the entry, or give "
        "it a new last day"
        for each in exceptions
    ]


def _row_lines(rows: Sequence[FindingRow], suffix: str, most: int) -> list[str]:
    lines = [f"{row.change}, {row.place(short)}{suffix}" for row in rows[:most]]
    if len(rows) > most:
        turns = len({key for row in rows[most:] for key in row.keys})
        lines.append(f"and {len(rows) - most} more like these, in {counted(turns, 'turn')}")
    return lines


def _live_lines(comparison: GateComparison, live: LiveTest, max_shown: int) -> list[str]:
    if not live.has_risen:
        return []
    names, since = PathNames(comparison), _since(comparison.causes)
    lines = [
        f"{short(names.of(path))} {rise:+.2f} calls per turn{since}"
        for path, rise in live.by_path
        if rise > 0
    ]
    return _first(lines, max_shown) + _cause_lines(comparison.causes)


def finding_lines(comparison: GateComparison, *, max_shown: int = MAX_SHOWN) -> list[str]:
    """Return the findings, one line each, the largest first: failures, then the rest.

    Args:
        max_shown: most lines of each kind; the rest is counted.
    """
    expired = _expired_lines(comparison.expired)
    if comparison.live is not None:
        return _live_lines(comparison, comparison.live, max_shown) + expired
    names = PathNames(comparison)
    failures = finding_rows(comparison.failures, names)
    lines = _row_lines(failures, _since(comparison.causes), max_shown)
    lines += (_cause_lines(comparison.causes) if failures else []) + expired
    lines += excepted_lines(comparison, max_shown=max_shown)
    lines += _row_lines(finding_rows(comparison.tolerated, names), " (allowed)", max_shown)
    gains = comparison.gains
    if gains and failures:
        # Next to a failure a list of savings distracts.
        places = counted(_turn_count(gains) or 1, "turn")
        return [*lines, f"{counted(len(gains), 'figure')} got better, in {places}"]
    return lines + _row_lines(finding_rows(gains, names), " (better: --update keeps it)", max_shown)


def excepted_lines(comparison: GateComparison, *, max_shown: int = MAX_SHOWN) -> list[str]:
    """Return the findings in quarantine, one line each."""
    names = PathNames(comparison)
    return [
        line
        for each, findings in by_exception(comparison)
        for line in _row_lines(
            finding_rows(findings, names),
            f" (in quarantine until {each.until.isoformat()}, {short(each.owner)})",
            max_shown,
        )
    ]


def mean_words(comparison: GateComparison) -> tuple[str, str]:
    """Return mean calls per turn of both sides, with digits enough to differ if they do."""
    means = comparison.baseline.mean_calls_per_turn, comparison.current.mean_calls_per_turn
    for digits in range(1, 7):
        before, now = (f"{mean:.{digits}f}" for mean in means)
        if before != now or means[0] == means[1]:
            break
    return before, now


def _turn_count(findings: Sequence[Finding]) -> int:
    return len({finding.key for finding in findings if finding.key is not None})


def _refused(baseline: Baseline) -> str:
    refused = baseline.refused_count
    return f", {counted(refused, 'more call')} refused by a limit" if refused else ""


def _expired_words(comparison: GateComparison) -> str:
    return f"{counted(len(comparison.expired), 'quarantine entry', 'quarantine entries')} expired"


def verdict(comparison: GateComparison, name: str) -> str:
    """Return the one line of the result."""
    if comparison.live is not None:
        return _live_verdict(comparison, comparison.live, name)
    before, now = mean_words(comparison)
    current = comparison.current
    label = " (simulated)" if current.is_simulated else ""
    over = f"over {counted(len(current.turns), 'turn')}{_refused(current)}{label}"
    if comparison.has_failed:
        turns = _turn_count(comparison.failures)
        places = f" in {counted(turns, 'turn')}" if turns else ""
        count = len(comparison.failures)
        reasons = [f"{counted(count, 'figure')} got worse{places}"] if count else []
        reasons += [_expired_words(comparison)] if comparison.expired else []
        return (
            f"failed: {before} -> {now} calls per turn {over}, {' and '.join(reasons)}, "
            f"against {name}"
        )
    line = f"ok: {now} calls per turn {over}, "
    line += f"as in {name}" if before == now else f"{before} in {name}"
    if comparison.tolerated:
        line += f"; {counted(len(comparison.tolerated), 'figure')} worse, as is allowed"
    if comparison.excepted:
        line += f"; {counted(len(comparison.excepted), 'figure')} worse, in quarantine"
    if comparison.gains:
        line += (
            f"; {counted(len(comparison.gains), 'figure')} fell or got better: --update keeps it"
        )
    return line


def _live_verdict(comparison: GateComparison, live: LiveTest, name: str) -> str:
    over = f"over {counted(live.turns, 'turn')} of {counted(live.conversations, 'conversation')}"
    test = f"p = {live.p_value:.2g}, false-alarm rate {live.alpha * 100:g} %"
    figures = f"{live.before:.2f} -> {live.now:.2f} calls per turn {over}"
    left_out = ""
    if live.excepted_turns:
        left_out = f"; {counted(live.excepted_turns, 'turn')} with calls in quarantine"
    if live.has_risen:
        return f"failed: {figures}, more than noise ({test}), against {name}{left_out}"
    if comparison.expired:
        expired = _expired_words(comparison)
        return f"failed: {figures}, {expired} ({test}), against {name}{left_out}"
    return f"ok: {figures}, within noise ({test}), against {name}{left_out}"


# Renewal.


@dataclass(frozen=True, slots=True)
class Renewal:
    """Changes of a baseline's file: whether its bytes change, the verdict, and each change."""

    has_changed: bool
    verdict: str
    lines: Sequence[str] = ()


def _renewal_lines(comparison: GateComparison) -> list[str]:
    names, causes = PathNames(comparison), comparison.causes
    rows = finding_rows((*comparison.failures, *comparison.tolerated, *comparison.gains), names)
    lines = [f"{row.change} in {counted(max(len(row.keys), 1), 'turn')}" for row in rows]
    lines = _first(lines, MAX_SHOWN, "more changes of calls")
    if causes.are_none:
        lines += [unexplained(causes)] if rows else []
        return lines or ["calls are as before; other figures or digests changed"]
    return lines + _first(_cause_words(causes), 2 * MAX_SHOWN, "more knobs and prompts")


def renew(path: Path, current: Baseline, *, name: str | None = None) -> Renewal:
    """Write a baseline, and return what that changed; see `renewal` and `Baseline.write`."""
    found = renewal(path, current, name=name)
    current.write(path)
    return found


def renewal(path: Path, current: Baseline, *, name: str | None = None) -> Renewal:
    """Return what writing a baseline would change. Nothing is written.

    A file that cannot be read as a baseline (torn, of another version, edited) counts as changed;
    whether it may be overwritten is decided when it is written.

    Args:
        name: the name to show for the file; None shows its path.
    """
    name, is_new, before, problem = name or str(path), not path.exists(), None, ""
    try:
        before = Baseline.read(path) if not is_new else None
    except (ConfigError, FormatError) as error:
        problem = error.problem if isinstance(error, FormatError) else str(error)
    figures = (
        f"{current.mean_calls_per_turn:.1f} calls per turn over "
        f"{counted(len(current.turns), 'turn')}{_refused(current)}"
        f"{' (simulated)' * current.is_simulated}"
    )
    if is_new:
        return Renewal(True, f"made: {name}, {figures}")
    if before is None:
        return Renewal(True, f"updated: {name}, {figures}", (f"the file before {problem}",))
    if path.read_bytes() == current.text().encode():
        return Renewal(False, f"unchanged: {name}, {figures}")
    if (found := mismatch(before, current)) is not None:
        return Renewal(True, f"updated: {name}, {figures}", (found[0],))
    comparison = compare(before, current)
    was, now = mean_words(comparison)
    changed = f", {was} before" if was != now else ""
    return Renewal(True, f"updated: {name}, {figures}{changed}", _renewal_lines(comparison))
