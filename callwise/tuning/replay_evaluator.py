"""The evaluator that plays a recording under other settings, turn by turn, and their presets.

Nothing is sent. A recording is opened once per process and kept while its files are the same,
because reading it and replaying its past takes longer than evaluating a setting on it.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from callwise.calls.errors import ConfigError
from callwise.calls.trust import NOTHING, Trust
from callwise.memory import StoreFailed
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.counterfactual.evaluation import Past, evaluate, record_past
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.recordings.recording import Recording, open_recording
from callwise.tuning.row import reply_id, row_of
from callwise.tuning.setting import Setting, SettingResult

__all__ = [
    "RECORDED",
    "CounterfactualEvaluator",
    "OpenRecording",
    "changed_knobs",
    "opened",
    "preset_of",
    "run_apart",
    "settings_of",
]

RECORDED = "recorded"
"""Name of the preset that means the recorded run's own settings."""

T = TypeVar("T")


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A finished run, its calls, and its memory after each turn."""

    recording: Recording
    cassette: ReusableCassette
    store: SnapshotBackend


@lru_cache(maxsize=2)
def _cassette(path: str, _stamp: tuple[int, int]) -> ReusableCassette:
    return ReusableCassette(Path(path))


@lru_cache(maxsize=2)
def _store(folder: str, _digest: str, trust: Trust) -> SnapshotBackend:
    recording = open_recording(Path(folder), trust=trust)
    return run_apart(record_past(recording, _cassette_of(recording)))


def _cassette_of(recording: Recording) -> ReusableCassette:
    status = os.stat(recording.cassette)  # noqa: PTH116 - one call for both figures
    return _cassette(str(recording.cassette), (status.st_size, status.st_mtime_ns))


def opened(folder: Path, trust: Trust = NOTHING) -> OpenRecording:
    """Return an open recording. It is kept in memory for as long as its files are the same.

    Raises:
        FormatError: when it is no run, or its cassette cannot be read.
        ConfigError: when it does not replay under its own settings.
    """
    recording = open_recording(folder, trust=trust)
    store = _store(str(folder), recording.digest, trust)
    return OpenRecording(recording, _cassette_of(recording), store)


def settings_of(recording: Recording, setting: Setting) -> Any:
    """Return the knobs of a setting; the preset `recorded` is the recorded run's own.

    A setting is evaluated on every turn, so it splits nothing: of a recorded experiment its knobs
    are those outside of the arms.
    """
    preset = None if setting.preset == RECORDED else setting.preset
    found = recording.settings(preset, setting.overrides)
    if getattr(found, "experiment", None) is None:
        return found
    return found.model_copy(update={"experiment": None})


def preset_of(recording: Recording, setting: Setting) -> dict[str, Any]:
    """Return a setting as a file of knobs: what it changes in the preset that it extends.

    A preset that is not shipped is in it as a whole, since only its name is recorded.
    """
    own = settings_of(recording, setting).model_dump(mode="json", exclude_unset=True)
    name = own.pop("preset", None)
    if name not in recording.app.presets():
        return dict(own)
    base = recording.app.settings(name).model_dump(mode="json", exclude_unset=True)
    return {"extends": name, **changed_knobs(base, own)}


def changed_knobs(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that differ from a preset's, with the groups that they are in."""
    found: dict[str, Any] = {}
    for name, value in own.items():
        below = base.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            if inner := changed_knobs(below, value):
                found[name] = inner
        elif value != below and name != "preset":
            found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class CounterfactualEvaluator:
    """Evaluates settings on a recording. A `callwise.tuning.setting.Evaluator`.

    Args:
        past: where each turn starts from; see `callwise.recordings.counterfactual.evaluation`.
        max_turns: how many of the recording's turns; None is all of them.
    """

    folder: Path
    past: Past = "recorded"
    max_turns: int | None = None
    trust: Trust = NOTHING

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result per setting, in the same order.

        Raises:
            FormatError: when the recording cannot be read.
            ConfigError: when it does not replay under its own settings.
        """
        known = opened(self.folder, self.trust)
        return [self._result(known, setting) for setting in settings]

    def _result(self, known: OpenRecording, setting: Setting) -> SettingResult:
        recording = known.recording
        try:
            knobs = settings_of(recording, setting)
            plan = recording.app.plan(knobs).as_json()
            turns = run_apart(
                evaluate(
                    recording,
                    known.cassette,
                    knobs,
                    past=self.past,
                    store=known.store,
                    turns=recording.inputs[: self.max_turns],
                )
            )
        except (ConfigError, StoreFailed) as error:
            return SettingResult(setting.name, (), error=str(error))
        is_simulated = recording.app.is_simulated(knobs)
        scenario = next(iter(plan["scenarios"].values()))
        rows = tuple(
            row_of(
                turn,
                setting=setting.name,
                seed=int(getattr(knobs, "seed", 0)),
                scenario=scenario,
                is_simulated=is_simulated,
            )
            for turn in turns
        )
        texts = (str(turn.record["reply"]) for turn in turns if turn.record is not None)
        replies = {reply_id(text): text for text in texts if text}
        return SettingResult(setting.name, rows, replies)
