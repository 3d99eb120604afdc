"""Sweeps logged to experiment trackers: MLflow and Weights & Biases.

A setting becomes one run of the tracker: its knobs are parameters, its figures metrics. One more
run is the sweep's: its recommendation, its table and its figure. No text and no id of a
conversation is logged, and the values of environment variables with keys are removed. A tracker
that fails costs a notice, never the sweep. Trackers are imported when there is something to log.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from callwise.calls.errors import ConfigError
from callwise.calls.redaction import redact
from callwise.optional_library import install_hint, loaded
from callwise.report.table import Table, to_csv
from callwise.safe_text import printable
from callwise.tuning.analysis import Analysis, with_estimates
from callwise.tuning.analysis_forms import analysis_json
from callwise.tuning.figures import CostAxis, tradeoff_of_front
from callwise.tuning.figures.figure_files import figure_bytes
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting, value_text
from callwise.tuning.setting_figures import SETTING_FIGURES, setting_figures

__all__ = [
    "LoggedSetting",
    "LoggedSweep",
    "MlflowLogger",
    "SweepLogger",
    "WandbLogger",
    "log_sweep",
    "loggers_named",
]

Parameter = str | int | float | bool

_KEY_ENDINGS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_LEAST_SECRET = 8
"""Characters of the shortest value of such a variable that counts as a secret."""

_MAX_PARAMETER = 500
"""Most characters of a parameter: what every version of MLflow takes."""

_MAX_REASON = 800
"""Most characters of a tracker's error: MLflow ends some with what to do."""


@dataclass(frozen=True, slots=True)
class LoggedSetting:
    """One setting as it is logged.

    Args:
        parameters: its preset and its knobs by dotted path.
        metrics: its figures that are known, by the names of `SETTING_FIGURES`.
    """

    name: str
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LoggedSweep:
    """A sweep as it is logged.

    Args:
        parameters: what is the same for all of it.
        summary: the recommendation as a sentence; empty without one.
        files: the table, the analysis, and the figure where it can be drawn.
    """

    name: str
    parameters: Mapping[str, Parameter]
    summary: str
    settings: tuple[LoggedSetting, ...]
    files: tuple[Path, ...]


class SweepLogger(Protocol):
    """A tracker, or another place, that sweeps are logged to."""

    def log(self, sweep: LoggedSweep) -> None:
        """Log a sweep. Any exception is a notice to the user; the sweep is not affected."""


def _installed(library: str, extra: str) -> None:
    """Raise a ConfigError where a tracker is not installed: before the sweep, not after it."""
    try:
        is_there = find_spec(library) is not None
    except ValueError:  # it is set to None
        is_there = False
    if not is_there:
        raise ConfigError(f"{library} is not installed. Install it with: {install_hint(extra)}")


@dataclass(frozen=True, slots=True)
class MlflowLogger:
    """Logs sweeps to MLflow: a run for the sweep, and one below it for each setting.

    Args:
        experiment: made where it does not exist.
        tracking_uri: a server, or a local store such as `sqlite:///mlflow.db`; None takes
            `MLFLOW_TRACKING_URI`, else MLflow's own default.
        now: seconds since 1970.

    Raises:
        ConfigError: when MLflow is not installed.
    """

    experiment: str = "callwise"
    tracking_uri: str | None = None
    now: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        _installed("mlflow", "mlflow")

    def log(self, sweep: LoggedSweep) -> None:
        """Log a sweep."""
        client = loaded("mlflow").MlflowClient(tracking_uri=self.tracking_uri)
        known = client.get_experiment_by_name(self.experiment)
        experiment = (
            client.create_experiment(self.experiment) if known is None else known.experiment_id
        )
        note = {"mlflow.note.content": sweep.summary}
        with self._run(client, experiment, sweep.name, note) as parent:
            self._log_values(client, parent, sweep.parameters, {})
            for path in sweep.files:
                client.log_artifact(parent, str(path))
            below = {"mlflow.parentRunId": parent}
            for setting in sweep.settings:
                with self._run(client, experiment, setting.name, below) as run:
                    self._log_values(client, run, setting.parameters, setting.metrics)

    @contextmanager
    def _run(
        self, client: Any, experiment: str, name: str, tags: Mapping[str, str]
    ) -> Iterator[str]:
        run = client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
        try:
            yield run
        except BaseException:
            client.set_terminated(run, status="FAILED")
            raise
        client.set_terminated(run)

    def _log_values(
        self,
        client: Any,
        run: str,
        parameters: Mapping[str, Parameter],
        metrics: Mapping[str, float],
    ) -> None:
        entities = loaded("mlflow.entities")
        moment = int(self.now() * 1000)
        client.log_batch(
            run,
            params=[entities.Param(name, str(value)) for name, value in parameters.items()],
            metrics=[entities.Metric(name, value, moment, 0) for name, value in metrics.items()],
        )


@dataclass(frozen=True, slots=True)
class WandbLogger:
    """Logs sweeps to Weights & Biases: a group of runs, one for each setting and one for the sweep.

    Of this machine nothing is logged: no code, no console, no command line, no packages.

    Args:
        project: made where it does not exist.
        folder: place of the local files; None takes the library's own default, `WANDB_DIR`.
        mode: `online`, `offline` (to be sent later with `wandb sync`) or None for `WANDB_MODE`.

    Raises:
        ConfigError: when wandb is not installed.
    """

    project: str = "callwise"
    folder: Path | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        _installed("wandb", "wandb")

    def log(self, sweep: LoggedSweep) -> None:
        """Log a sweep."""
        wandb = loaded("wandb")
        for setting in sweep.settings:
            with self._run(wandb, sweep, setting.name, setting.parameters) as run:
                run.summary.update(dict(setting.metrics))
        with self._run(wandb, sweep, sweep.name, sweep.parameters, notes=sweep.summary) as run:
            artifact = wandb.Artifact("sweep", "sweep")
            for path in sweep.files:
                artifact.add_file(str(path))
            run.log_artifact(artifact)

    @contextmanager
    def _run(
        self,
        wandb: Any,
        sweep: LoggedSweep,
        name: str,
        parameters: Mapping[str, Parameter],
        notes: str | None = None,
    ) -> Iterator[Any]:
        own = {"root_dir": str(self.folder)} if self.folder is not None else {}
        mode = {"mode": self.mode} if self.mode is not None else {}
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            **own,
            **mode,
        )
        run = wandb.init(
            project=self.project,
            group=sweep.name,
            name=name,
            notes=notes,
            config=dict(parameters),
            settings=settings,
            reinit="create_new",  # a run of the user's own goes on
        )
        try:
            yield run
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()


_LOGGERS: Mapping[str, Callable[[], SweepLogger]] = {"mlflow": MlflowLogger, "wandb": WandbLogger}


def loggers_named(names: Sequence[str]) -> list[SweepLogger]:
    """Return loggers with their defaults by name, each once.

    Raises:
        ConfigError: for another name, or a tracker that is not installed.
    """
    unknown = [name for name in names if name not in _LOGGERS]
    if unknown:
        raise ConfigError(f"expected --log {' or '.join(_LOGGERS)}, got {unknown[0]!r}")
    return [_LOGGERS[name]() for name in dict.fromkeys(names)]


def log_sweep(
    loggers: Sequence[SweepLogger],
    name: str,
    settings: Sequence[Setting],
    analysis: Analysis,
    rows: Sequence[TurnRow],
    *,
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    """Log an analysed sweep to each logger, and return a notice for each one that failed.

    Args:
        name: of the sweep, such as that of its folder.
        environ: where secrets are; None takes the process's.
    """
    if not loggers:
        return []
    variables = os.environ if environ is None else environ
    secrets = [
        value
        for variable, value in variables.items()
        if variable.upper().endswith(_KEY_ENDINGS) and len(value) >= _LEAST_SECRET
    ]
    clean = partial(_clean, secrets=secrets)
    notices: list[str] = []
    with tempfile.TemporaryDirectory(prefix="callwise-") as folder:
        found = analysis.recommendation
        sweep = LoggedSweep(
            name=clean(name),
            parameters={
                "simulated": analysis.is_simulated,
                "quality_by": analysis.by or "not judged",
                "cost": analysis.cost,
                "turns": analysis.turns,
                "conversations": analysis.conversations,
            },
            summary="" if found is None else clean(found.sentence()),
            settings=tuple(
                _logged_setting(each, analysis, clean)
                for each in settings
                if each.name in analysis.settings
            ),
            files=tuple(_files(Path(folder), analysis, rows, clean)),
        )
        for logger in loggers:
            try:
                logger.log(sweep)
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the sweep is done
                whole = " ".join(f"{type(error).__name__}: {error}".split())
                reason = printable(clean(whole))[:_MAX_REASON]
                notices.append(f"{type(logger).__name__} could not log the sweep: {reason}")
    return notices


def _clean(text: str, *, secrets: Sequence[str]) -> str:
    return redact(text, *secrets)


def _logged_setting(
    setting: Setting, analysis: Analysis, clean: Callable[[str], str]
) -> LoggedSetting:
    figures = setting_figures(analysis.settings[setting.name], analysis)
    parameters: dict[str, Parameter] = {"preset": clean(setting.preset)}
    for knob, value in setting.knobs.items():
        is_plain = isinstance(value, int | float)
        text = value if isinstance(value, str) else value_text(value)
        parameters[knob] = value if is_plain else clean(text)[:_MAX_PARAMETER]  # type: ignore[assignment]
    metrics = {name: float(value) for name, value in figures.items() if value is not None}
    return LoggedSetting(clean(setting.name), parameters, metrics)


def _files(
    folder: Path, analysis: Analysis, rows: Sequence[TurnRow], clean: Callable[[str], str]
) -> Iterator[Path]:
    """Write what is logged as files, without a secret, and yield their paths."""
    lines = [
        (name, *setting_figures(each, analysis).values())
        for name, each in analysis.settings.items()
    ]
    table = Table("settings", "", ("setting", *SETTING_FIGURES), tuple(lines))
    texts = {
        "settings.csv": to_csv(table),
        "summary.json": json.dumps(analysis_json(analysis), indent=2, ensure_ascii=False) + "\n",
    }
    cost = next((each for each in CostAxis if each.field == analysis.cost), None)
    # Without the library for figures the table is logged alone.
    if cost is not None and analysis.front.points and find_spec("vl_convert") is not None:
        estimated = with_estimates(rows, analysis.quality)
        found = tradeoff_of_front(
            estimated, analysis.front, cost=cost, recommendation=analysis.recommendation
        )
        texts["tradeoff.svg"] = figure_bytes(found, "svg").decode()
    for name, text in texts.items():
        path = folder / name
        path.write_text(clean(text), encoding="utf-8")
        yield path
