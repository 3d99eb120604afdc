"""A test's calls compared with a committed baseline.

Which comparison, first that applies: with `--callwise-update` none, the baseline is written
once the test has passed; a live run is tested statistically; any other run, replayed,
simulated or scripted, is compared exactly.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from callwise.calls.errors import ConfigError, FormatError
from callwise.testing.gate import (
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
from callwise.testing.gate.live_gate import DEFAULT_ALPHA
from callwise.testing.gate.presenter import Renewal, excepted_lines, renewal
from callwise.testing.plugin_options import FixtureSetup
from callwise.text_layout import counted

__all__ = ["Checks"]


@dataclass(slots=True)
class Checks:
    """A test's checks, and the baselines to write once it has passed."""

    setup: FixtureSetup
    excepted: list[str] = field(default_factory=list)
    gains: list[str] = field(default_factory=list)
    _waiting: dict[str, tuple[Path, Baseline, Renewal]] = field(default_factory=dict)

    def check(
        self, current: Baseline, name: str, gates: Gates, *, is_live: bool, alpha: float | None
    ) -> tuple[GateComparison | None, str]:
        """Return the comparison, None where the baseline will be written, and why it fails.

        Args:
            alpha: false-alarm rate of a live test, in (0, 0.5]; None takes its default.

        Raises:
            ConfigError: for a name that is none.
        """
        path = self.setup.baseline_path(name)
        root = self.setup.root
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if self.setup.is_updating:
            waiting = path, current, renewal(path, current, name=shown)
            if self._waiting.setdefault(shown, waiting)[1].text() == current.text():
                return None, ""
            return None, (
                f"the test checks {name!r} twice, with different results; give each its own name"
            )
        try:
            comparison = self._compared(current, path, shown, gates, is_live=is_live, alpha=alpha)
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

    def _compared(
        self,
        current: Baseline,
        path: Path,
        shown: str,
        gates: Gates,
        *,
        is_live: bool,
        alpha: float | None,
    ) -> GateComparison:
        file = self.setup.quarantine
        exceptions = () if file is None else read_quarantine(file)
        if not path.exists():
            raise ConfigError(
                f"there is no baseline {shown}; this run asked "
                f"{counted(current.asked_count, 'call')} in "
                f"{counted(len(current.turns), 'turn')}. Look at them, and write it with --update"
            )
        quarantine = Quarantine(exceptions, today=self.setup.today)
        baseline = Baseline.read(path)
        if not is_live:
            return compare(baseline, current, gates, quarantine=quarantine)
        alpha = DEFAULT_ALPHA if alpha is None else alpha
        return compare_live(baseline, current, alpha=alpha, quarantine=quarantine)

    def forget(self) -> None:
        """Forget an earlier test's results, which were reported, and its unwritten baselines."""
        self.excepted, self.gains = [], []
        self._waiting.clear()

    def write(self) -> list[tuple[str, str, str]]:
        """Write the waiting baselines; return file, change (empty for none) and digest of each.

        Raises:
            ConfigError: when one cannot be written.
        """
        written = []
        for shown, (path, baseline, change) in self._waiting.items():
            if change.has_changed:
                baseline.write(path)
            text = "\n  ".join((change.verdict, *change.lines)) if change.has_changed else ""
            digest = hashlib.sha256(baseline.text().encode()).hexdigest()[:16]
            written.append((shown, _for_pytest(text), digest))
        return written


def _for_pytest(text: str) -> str:
    """Return a text of the gate with the option's name in pytest."""
    return text.replace("--update", "--callwise-update")
