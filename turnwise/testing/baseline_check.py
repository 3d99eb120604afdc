"""One check of a test against its committed baseline.

Which gate holds it, first that applies: with `--turnwise-update` none, the baseline is
written once the test has passed; a live run goes through the statistical gate; any other
run, replayed, simulated or scripted, is compared exactly.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.testing.gate import (
    Baseline,
    GateComparison,
    Gates,
    Quarantine,
    compare,
    compare_live,
    finding_lines,
    read_quarantine,
    verdict,
)
from turnwise.testing.gate.live_gate import DEFAULT_ALPHA
from turnwise.testing.gate.presenter import counted, excepted_lines
from turnwise.testing.plugin_options import PluginChoices

__all__ = ["Checks"]


@dataclass(frozen=True, slots=True)
class _Pending:
    """A baseline that is written when its test has passed.

    Args:
        path: its file.
        baseline: what goes there.
        change: what changes, in words; empty when the file is as it was.
    """

    path: Path
    baseline: Baseline
    change: str

    def write(self) -> str:
        """Write it where it changes something, and return a digest of what stands there now.

        Raises:
            ConfigError: when the file cannot be written.
        """
        if self.change:
            self.baseline.write(self.path)
        return hashlib.sha256(self.baseline.text().encode()).hexdigest()[:16]


def _compared(
    current: Baseline,
    path: Path,
    shown: str,
    *,
    gates: Gates,
    is_live: bool,
    alpha: float | None,
    quarantine: Quarantine,
) -> GateComparison:
    """Return a run compared with the baseline in a file. Nothing is written.

    Args:
        current: the run.
        path: the baseline's file.
        shown: what to call it.
        gates: which figures are gated, in an exact comparison.
        is_live: whether calls vary by themselves.
        alpha: false-alarm rate of the statistical gate, in (0, 0.5]; None takes its default.
        quarantine: known flaky cases.

    Raises:
        ConfigError: when run and baseline cannot be compared.
        FormatError: when the file cannot be read.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no baseline {shown}; this run asked "
            f"{counted(current.asked_count, 'call')} in {counted(len(current.turns), 'turn')}. "
            "Look at them, and write it with --turnwise-update"
        )
    baseline = Baseline.read(path)
    if not is_live:
        return compare(baseline, current, gates, quarantine=quarantine)
    comparison = compare_live(
        baseline, current, alpha=DEFAULT_ALPHA if alpha is None else alpha, quarantine=quarantine
    )
    live = comparison.live
    if live is not None and not live.can_show_rise:
        raise ConfigError(
            f"{counted(live.conversations, 'conversation')} cannot show any rise at a "
            f"false-alarm rate of {live.alpha * 100:g} %: run at least "
            f"{live.least_conversations}, allow more with check(..., alpha=0.05), or check a "
            "replay of a recording, which is exact"
        )
    return comparison


def _pending(current: Baseline, path: Path) -> _Pending:
    """Return what writing a baseline would change.

    A file that cannot be read as a baseline counts as changed whole; whether it may be
    overwritten is decided when it is written.
    """
    calls = f"{counted(current.asked_count, 'call')} in {counted(len(current.turns), 'turn')}"
    if not path.exists():
        return _Pending(path, current, f"new: {calls}")
    try:
        before = Baseline.read(path)
    except (ConfigError, FormatError):
        return _Pending(path, current, f"could not be read, made anew: {calls}")
    if before.text() == current.text() and path.read_bytes() == current.text().encode():
        return _Pending(path, current, "")
    return _Pending(path, current, _change(before, current, calls))


def _change(before: Baseline, current: Baseline, calls: str) -> str:
    try:
        drift = compare(before, current)
    except ConfigError:
        return f"of another run than before, made anew: {calls}"
    if not drift.failures and not drift.gains:
        return f"same calls, other facts: {_facts(before, current)}"
    # Written down on purpose, a fall is a change like a rise.
    changes = replace(drift, failures=(*drift.failures, *drift.gains), gains=())
    lines = finding_lines(changes)
    rest = "; and more" if len(changes.failures) > 1 else ""
    return f"{before.asked_count} -> {current.asked_count} calls: {lines[0]}{rest}"


def _facts(before: Baseline, current: Baseline) -> str:
    names = [
        name
        for name in ("conversations", "knobs", "prompts", "is_replayed", "turns")
        if getattr(before, name) != getattr(current, name)
    ]
    return ", ".join(names) or "form"


@dataclass(slots=True)
class Checks:
    """A test's checks, and what waits until it has passed.

    Args:
        choices: what pytest was asked to do.
        test_file: the test's file.
        today: the day, for the ends of quarantines.
        excepted: what was worse and in quarantine so far.
        gains: what fell below its baseline so far.
    """

    choices: PluginChoices
    test_file: Path
    today: date
    excepted: list[str] = field(default_factory=list)
    gains: list[str] = field(default_factory=list)
    _waiting: dict[Path, _Pending] = field(default_factory=dict)

    def check(
        self, current: Baseline, name: str, gates: Gates, *, is_live: bool, alpha: float | None
    ) -> tuple[GateComparison | None, str]:
        """Return the comparison, None where the baseline will be written, and why it fails.

        Args:
            current: the run.
            name: the baseline's name.
            gates: which figures are held.
            is_live: whether calls vary by themselves.
            alpha: false-alarm rate of the statistical gate; None takes its default.

        Raises:
            ConfigError: for a name that is none.
        """
        path = self.choices.baseline_path(self.test_file, name)
        if self.choices.is_updating:
            return None, self._wait(_pending(current, path), name)
        shown, file = self._shown(path), self.choices.quarantine
        try:
            exceptions = () if file is None else read_quarantine(file)
            comparison = _compared(
                current,
                path,
                shown,
                gates=gates,
                is_live=is_live,
                alpha=alpha,
                quarantine=Quarantine(exceptions, today=self.today),
            )
        except (ConfigError, FormatError) as error:
            return None, _for_pytest(str(error))
        line = verdict(comparison, shown)
        self.excepted += excepted_lines(comparison)
        if comparison.live is not None and comparison.live.excepted_turns:
            self.excepted.append(line)
        if comparison.has_failed:
            return comparison, _for_pytest("\n  ".join([line, *finding_lines(comparison)]))
        if comparison.gains:
            self.gains.append(_for_pytest(line))
        return comparison, ""

    def forget(self) -> None:
        """Forget an earlier test's checks, which have been told, and what it left unwritten."""
        self.excepted, self.gains = [], []
        self._waiting.clear()

    def write(self) -> list[tuple[str, str, str]]:
        """Write what waits, and return file, change and digest of each.

        Raises:
            ConfigError: when one cannot be written.
        """
        return [
            (self._shown(path), waiting.change, waiting.write())
            for path, waiting in self._waiting.items()
        ]

    def _wait(self, waiting: _Pending, name: str) -> str:
        """Let a baseline wait for the test to pass; return why it cannot."""
        other = self._waiting.setdefault(waiting.path, waiting)
        if other.baseline.text() != waiting.baseline.text():
            return f"the test checks {name!r} twice, and not alike; give each check its own name"
        return ""

    def _shown(self, path: Path) -> str:
        root = self.choices.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _for_pytest(text: str) -> str:
    """Return the gate's words with the option's name as pytest knows it."""
    return text.replace("--update", "--turnwise-update")
