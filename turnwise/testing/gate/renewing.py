"""Writing a baseline anew, and saying what that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.testing.gate.baseline import Baseline
from turnwise.testing.gate.gate_comparison import GateComparison, compare, mismatch
from turnwise.testing.gate.presenter import (
    MAX_SHOWN,
    PathNames,
    calls_a_turn,
    cause_lines,
    change_words,
    counted,
    grouped,
    knob_words,
    short,
)

__all__ = ["Renewed", "renew"]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What writing a baseline changed.

    Args:
        has_changed: whether the file has other bytes than before.
        verdict: one line.
        lines: what changed, a line each.
    """

    has_changed: bool
    verdict: str
    lines: Sequence[str] = ()


def _before(path: Path) -> tuple[Baseline | None, str]:
    """Return the baseline that stands there, or None and why there is none to compare with."""
    try:
        return Baseline.read(path), ""
    except ConfigError:
        return None, ""
    except FormatError as error:
        return None, error.problem


def _changes(drift: GateComparison) -> list[str]:
    names = PathNames((drift.baseline, drift.current))
    groups = grouped((*drift.failures, *drift.tolerated, *drift.gains))
    lines = [
        f"{change_words(group.finding, names)} in {counted(max(len(group.keys), 1), 'turn')}"
        for group in groups[:MAX_SHOWN]
    ]
    if len(groups) > MAX_SHOWN:
        lines.append(f"and {len(groups) - MAX_SHOWN} more changes of calls")
    causes = drift.causes
    if causes.are_none:
        return lines + (cause_lines(causes) if groups else [])
    lines += [f"knob {knob_words(change)}" for change in causes.knobs[:MAX_SHOWN]]
    lines += [f"prompt {short(name)} changed" for name in causes.prompts[:MAX_SHOWN]]
    more = sum(max(len(each) - MAX_SHOWN, 0) for each in (causes.knobs, causes.prompts))
    return [*lines, f"and {more} more knobs and prompts"] if more else lines


def renew(path: Path, current: Baseline, *, name: str | None = None) -> Renewed:
    """Write a baseline, and return what that changed.

    A baseline that cannot be read (torn, of another version, edited) is written anew; a
    file that never was one is not.

    Args:
        path: the baseline's file.
        current: the run.
        name: what to call the file; None is its path.

    Raises:
        ConfigError: when the file is no baseline, or cannot be written.
        FormatError: when a merge of the file is not finished.
    """
    before, problem = _before(path)
    is_new, name = not path.exists(), name or str(path)
    current.write(path)
    turns = counted(len(current.turns), "turn")
    figures = f"{current.mean_calls_a_turn:.1f} calls a turn over {turns}"
    if current.refused_count:
        figures += f", {counted(current.refused_count, 'more call')} refused by a limit"
    figures += " (simulated)" * current.is_simulated
    if is_new:
        return Renewed(True, f"made: {name}, {figures}")
    if before is None:
        return Renewed(True, f"updated: {name}, {figures}", (f"what stood there {problem}",))
    if before.text() == current.text():
        return Renewed(False, f"unchanged: {name}, {figures}")
    found = mismatch(before, current)
    if found is not None:
        return Renewed(True, f"updated: {name}, {figures}", (found.problem,))
    drift = compare(before, current)
    was, now = calls_a_turn(drift)
    verdict = f"updated: {name}, {figures}" + (f", {was} before" if was != now else "")
    lines = _changes(drift) or ["calls are as before; other figures or digests changed"]
    return Renewed(True, verdict, lines)
