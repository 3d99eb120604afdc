"""Conversations replayed in a test, and a test's calls compared with a committed baseline.

Which comparison, first that applies: with `--callwise-update` none, the baseline is written
once the test has passed; a live run is tested statistically; any other run, replayed,
simulated or scripted, is compared exactly.
"""

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings import CassetteMode, read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.conversation_files import first_turns
from callwise.recordings.normalising import Rule
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.report import load_run
from callwise.report.run_record import CallLine, TurnLine
from callwise.testing.call_counts import CallCounts, count_calls
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
from callwise.testing.gate.presenter import counted, excepted_lines
from callwise.testing.plugin_options import FixtureLocation, PluginChoices

__all__ = ["Checks", "ReplayedRun", "find_cassette", "find_test_file", "replay"]


T = TypeVar("T")


Runner = Callable[[Coroutine[Any, Any, T]], T]
"""Runs a coroutine to its end and returns its result."""


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A run that a test made.

    Args:
        folder: its run folder, under the test's own temporary folder.
        manifest: of which app, knobs and conversations it is.
        turns: its turns, in the order of the conversations.
        rows: its calls, likewise.
        label: what to call it where a test has several.
        is_replayed: whether every call was played from a recording.
        is_live: whether a real endpoint was asked.
        is_simulated: whether a simulated model gave the answers, now or when recorded.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    turns: tuple[TurnLine, ...] = field(repr=False)
    rows: tuple[CallLine, ...] = field(repr=False)
    label: str
    is_replayed: bool
    is_live: bool
    is_simulated: bool

    @property
    def calls(self) -> CallCounts:
        """Its calls, by node, role, purpose and turn."""
        return count_calls(self.rows, self.turns)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A baseline that is written when its test has passed; no `change` where it is the same."""

    path: Path
    baseline: Baseline
    change: str

    def write(self) -> str:
        """Write it where it changes, and return a digest of the file.

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

    Raises:
        ConfigError: when run and baseline cannot be compared.
        FormatError: when the file cannot be read.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no baseline {shown}; this run asked "
            f"{counted(current.asked_count, 'call')} in {counted(len(current.turns), 'turn')}. "
            "Look at them, and write it with --callwise-update"
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
        return _Pending(path, current, f"could not be read, made again: {calls}")
    if before.text() == current.text() and path.read_bytes() == current.text().encode():
        return _Pending(path, current, "")
    return _Pending(path, current, _change(before, current, calls))


def _change(before: Baseline, current: Baseline, calls: str) -> str:
    try:
        drift = compare(before, current)
    except ConfigError:
        return f"of another run than before, made again: {calls}"
    if not drift.failures and not drift.gains:
        return f"same calls, other facts: {_facts(before, current)}"
    # In an update, a fall is a change like a rise.
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
            gates: which figures are gated, in an exact comparison.
            is_live: whether calls vary by themselves.
            alpha: false-alarm rate of a live test, in (0, 0.5]; None takes its default.

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
        """Forget an earlier test's results, which were reported, and its unwritten baselines."""
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
        """Keep a baseline until the test has passed; return why it cannot be."""
        other = self._waiting.setdefault(waiting.path, waiting)
        if other.baseline.text() != waiting.baseline.text():
            return f"the test checks {name!r} twice, with different results; give each its own name"
        return ""

    def _shown(self, path: Path) -> str:
        root = self.choices.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _for_pytest(text: str) -> str:
    """Return a text of the gate with the option's name in pytest."""
    return text.replace("--update", "--callwise-update")


def find_test_file(given: str | Path, test_file: Path, root: Path) -> Path:
    """Return a file that a test names: beside the test first, then from the root folder.

    Args:
        given: as the test wrote it; an absolute path stays as it is.
        test_file: the test's own file.
        root: pytest's root folder.

    Raises:
        ConfigError: when it is in neither.
    """
    candidates = [test_file.parent / given, root / given]
    for path in candidates:
        if path.exists():
            return path
    looked = " and ".join(dict.fromkeys(str(path) for path in candidates))
    raise ConfigError(f"there is no {given}; looked for {looked}")


def find_cassette(
    given: str | Path, location: FixtureLocation, *, root: Path, is_recording: bool
) -> Path:
    """Return the cassette that a test names; a new one is made next to the test's file.

    Raises:
        ConfigError: when there is none to play; with the command that records it.
    """
    try:
        return find_test_file(given, location.file, root)
    except ConfigError as error:
        if is_recording:
            path = location.file.parent / given
            path.parent.mkdir(parents=True, exist_ok=True)
            return path
        raise ConfigError(
            f"{error}. Record it: pytest {location.test} --callwise-record, with the endpoint in "
            "CALLWISE_BASE_URL and CALLWISE_MODEL, or as the model's client; or a replay's: "
            f"callwise replay CONVERSATION --preset NAME --record {given}"
        ) from None


def replay(
    run: Runner[Any],
    *,
    app_name: str,
    preset: str | None,
    overrides: Sequence[str],
    conversations: Sequence[Path],
    max_turns: int | None,
    cassette: Path | None,
    normalise: Sequence[Rule],
    max_concurrency: int,
    folder: Path,
    choices: PluginChoices,
) -> ReplayedRun:
    """Run conversations under the budgeter, and return what they asked.

    Raises:
        ConfigError: when it would send something and may not, or a setting cannot work.
        FormatError: when a file cannot be read.
        CallError: what stopped the run, such as a call that the cassette lacks.
    """
    app = load_app(app_name)
    settings = app.settings(preset, overrides)
    is_simulated = app.is_simulated(settings)
    if cassette is None and not is_simulated and not choices.is_live:
        raise ConfigError(
            f"replaying with preset {preset!r} would send requests: its endpoints are not "
            "simulated, and there is no cassette. Give replay(cassette=...) a recording "
            "(`callwise replay ... --record FILE` makes one), or run pytest with --callwise-live"
        )
    if max_turns is not None and max_turns < 1:
        raise ConfigError(f"max_turns is at least 1, got {max_turns}")
    whole = list(read_conversations(conversations).conversations)
    is_played = cassette is not None and not choices.is_recording
    request = RunRequest(
        app=app,
        app_target=app_name,
        settings=settings,
        conversations=whole if max_turns is None else list(first_turns(whole, max_turns)),
        digest_of=whole,
        folder=folder,
        cassette=cassette,
        mode=CassetteMode.STRICT if is_played else CassetteMode.NEW_EPISODES,
        max_concurrency=max_concurrency,
        normalise=normalise,
    )
    run(run_replay(request))
    record = load_run(folder)
    return ReplayedRun(
        folder=record.folder,
        manifest=record.manifest,
        turns=record.turns,
        rows=record.rows,
        label=" ".join([preset or str(getattr(settings, "preset", "")), *overrides]),
        is_replayed=cassette is not None,
        is_live=cassette is None and not is_simulated,
        is_simulated=record.is_simulated,
    )
