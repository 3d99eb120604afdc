"""A sweep of settings over a recorded run, from its settings to its stored rows."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from callwise.calls.trust import NOTHING, Trust
from callwise.knobs import settings_digest
from callwise.recordings.counterfactual.evaluation import Past
from callwise.recordings.recording import Recording, open_recording
from callwise.tuning.replay_evaluator import RECORDED, CounterfactualEvaluator, settings_of
from callwise.tuning.row import TurnRow
from callwise.tuning.samplers import LeftOut, plan_settings, run_study
from callwise.tuning.setting import Evaluator, Setting
from callwise.tuning.sweep_spec import ObjectiveValues, SweepSpec, sweep_digest
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.sweep_workers import OnResult, run_sweep

__all__ = ["FinishedSweep", "SweepRequest", "plan_sweep", "sweep", "sweep_name"]

ValuesOf = Callable[[Sequence[TurnRow]], ObjectiveValues]
"""Returns the objectives of a setting's rows, or why they are not known."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """A sweep to run: its settings, its recording, its folder.

    Args:
        past: where each turn starts from; see `callwise.recordings.counterfactual.evaluation`.
        max_turns: how many of the recording's turns; None is all of them.
        jobs: worker processes; -1 is one per core, 1 stays in this process.
        client: of a dask cluster, or None for this machine.
    """

    recording: Path
    spec: SweepSpec
    folder: Path
    past: Past = "recorded"
    max_turns: int | None = None
    jobs: int = -1
    client: Any = None
    trust: Trust = NOTHING

    @property
    def evaluator(self) -> CounterfactualEvaluator:
        """The evaluator of its settings."""
        # Workers have other working directories, and outlive a change of this one.
        folder = self.recording.resolve()
        return CounterfactualEvaluator(folder, self.past, self.max_turns, self.trust)


@dataclass(frozen=True, slots=True)
class FinishedSweep:
    """A sweep of which every setting has been evaluated.

    Args:
        settings: those that ran, in the order of the sweep.
        rows: theirs, in that order, then in the order of the recording.
    """

    folder: Path
    settings: tuple[Setting, ...]
    rows: tuple[TurnRow, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()


def plan_sweep(recording: Recording, spec: SweepSpec) -> tuple[Setting, ...]:
    """Return the settings that a sweep begins with, each validated against the app.

    Raises:
        ConfigError: as `plan_settings` does.
    """
    return plan_settings(spec, preset=RECORDED, validate=partial(settings_of, recording)).settings


def sweep_name(request: SweepRequest) -> str:
    """Return a folder name that is the same for the same request, and for no other."""
    recording = open_recording(request.recording, trust=request.trust)
    settings = plan_sweep(recording, request.spec)
    identity = orjson.dumps(_identity(request, recording, settings), option=orjson.OPT_SORT_KEYS)
    return f"{request.recording.name}-sweep-{hashlib.sha256(identity).hexdigest()[:8]}"


def _identity(
    request: SweepRequest, recording: Recording, settings: Sequence[Setting]
) -> dict[str, Any]:
    # A preset's file may have been edited since: what its settings are now is part of it.
    knobs = [settings_digest(settings_of(recording, each)) for each in settings]
    return {
        "recording": recording.digest,
        "sweep": sweep_digest(request.spec),
        "knobs": hashlib.sha256(orjson.dumps(knobs)).hexdigest(),
        "past": request.past,
        "max_turns": request.max_turns,
    }


def sweep(
    request: SweepRequest,
    *,
    values_of: ValuesOf | None = None,
    on_result: OnResult | None = None,
    evaluator: Evaluator | None = None,
) -> FinishedSweep:
    """Evaluate every setting of a sweep that its folder does not have yet.

    Args:
        values_of: objectives of a setting for an adaptive sampler; None takes the means of the
            rows, which have no quality.
        evaluator: None plays what is recorded and buys nothing.

    Raises:
        ConfigError: for a sweep or a recording that cannot work.
        FormatError: when a file cannot be read.
        WorkerDied: when a worker was killed; finished settings are stored.
        DiskFull: when the disk is full.
    """
    recording = open_recording(request.recording, trust=request.trust)
    validate = partial(settings_of, recording)
    plan = plan_settings(request.spec, preset=RECORDED, validate=validate)
    chosen = request.evaluator if evaluator is None else evaluator
    cassette_bytes = recording.cassette.stat().st_size
    details = {
        "app": recording.app_target,
        "recording_folder": str(request.recording),
        "simulated": recording.is_simulated,
        "spec": request.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    identity = _identity(request, recording, plan.settings)
    with SweepStore(request.folder, identity=identity, details=details) as store:
        stale = _stale(store, cassette_bytes)
        options: dict[str, Any] = {"jobs": request.jobs, "client": request.client}
        options["on_result"] = on_result
        order = [setting.name for setting in plan.settings]
        run_sweep(plan.settings, chosen, store, **options)
        left_out = list(plan.left_out)
        if request.spec.sampler in {"nsga2", "tpe"}:
            study = run_study(
                request.spec,
                chosen,
                store,
                preset=RECORDED,
                validate=validate,
                values_of=values_of,
                **options,
            )
            order += [setting.name for setting in study.settings]
            left_out += study.failed
        for setting in stale:
            (result,) = chosen.evaluate([setting])
            store.add(setting, result)
        store.describe({"cassette_bytes": recording.cassette.stat().st_size})
        store.finish(list(dict.fromkeys(order)))
        left_out += [LeftOut(name, error) for name, error in store.errors.items()]
        return FinishedSweep(
            folder=store.path,
            settings=store.settings,
            rows=tuple(store.rows()),
            left_out=tuple({each.setting: each for each in left_out}.values()),
        )


def _stale(store: SweepStore, cassette_bytes: int) -> list[Setting]:
    """Return inexact settings whose rows were made before the recording grew."""
    known = store.manifest.get("cassette_bytes")
    if known == cassette_bytes or not store.was_resumed:
        return []
    inexact = {row.setting for row in store.rows() if row.missing_calls or row.diverged_at}
    return [setting for setting in store.settings if setting.name in inexact]
