"""Common parts of `callwise tune --route` and `--cascade`: checks, sweeps, preset, files."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from callwise.calls.errors import ConfigError
from callwise.cli.terminal import print_json, print_wrapped, say
from callwise.cli.tune_command import judged_rows, swept
from callwise.cli.tune_next import command_again
from callwise.recordings.recording import Recording, open_recording
from callwise.report.table import tables_text
from callwise.shipped import RUNS
from callwise.tuning.analysis import Analysis, to_buy
from callwise.tuning.analysis_forms import (
    analysis_json,
    buy_sentence,
    legend_lines,
    settings_table,
)
from callwise.tuning.judge.judge_sweep import JudgedRows, check_judging
from callwise.tuning.replay_evaluator import OpenRecording, opened
from callwise.tuning.routing.route_space import RouteSpace
from callwise.tuning.routing.route_tuning import (
    PRESET_FILE,
    MeasuredSweep,
    analysed,
    models_of_file,
    refuse_idle,
    space_of,
)
from callwise.tuning.sweep import SweepRequest, sweep_name
from callwise.tuning.sweep_spec import SweepSpec
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.table_files import write_csv

if TYPE_CHECKING:
    from callwise.cli.tune_options import TuneOptions
    from callwise.tuning.figures import FigureData

__all__ = ["ModelSweeps", "open_models"]


@dataclass(frozen=True, slots=True)
class ModelSweeps:
    """The sweeps of one command that tunes which model answers.

    Args:
        flag: `--route` or `--cascade`.
    """

    options: "TuneOptions"
    flag: str
    recording: Recording
    space: RouteSpace
    request: SweepRequest

    @property
    def folder(self) -> Path:
        """The folder of all its sweeps."""
        return self.request.folder

    @property
    def is_buying(self) -> bool:
        """Whether calls are bought that are not recorded."""
        return self.options.buy

    def known(self) -> OpenRecording:
        """Return the open recording, with what was bought since."""
        return opened(self.options.recording.resolve(), self.options.trust)

    def measure(self, spec: SweepSpec, name: str) -> MeasuredSweep:
        """Evaluate settings in a folder of that name, buy where asked to, judge, analyse."""
        options, recording = self.options, self.recording
        request = replace(self.request, spec=spec, folder=self.folder / name)
        finished = swept(options, request, recording)
        # Only now: a folder that has another sweep is refused, and keeps its recommendation.
        (self.folder / PRESET_FILE).unlink(missing_ok=True)
        for left in finished.left_out:
            say(f"left out: {left.setting}: {left.reason}")
        refuse_idle(finished)
        judged = judged_rows(options, recording, finished)
        return analysed(finished, judged, margin_share=options.margin_share, cost=options.cost)

    def again(self, *more: str) -> str:
        """Return the same command with more options."""
        return command_again(self.options, self.folder, *more)

    def write_preset(self, text: str, out: str) -> list[str]:
        """Write the recommended preset, and return the commands that run it."""
        path = self.folder / PRESET_FILE
        path.write_text(text, encoding="utf-8")
        turns = shlex.quote(str(self.options.recording / "turns.jsonl"))
        command = (
            f"callwise replay {turns} --preset {shlex.quote(str(path))} "
            f"--record {shlex.quote(str(self.recording.cassette))} --out {out}"
        )
        return [
            "Next, run what is recommended; what is recorded is not bought again:",
            f"  {command}",
            f"  callwise check {out} --baseline calls.json --update",
        ]

    def finish(
        self,
        judged: JudgedRows,
        document: Mapping[str, Any],
        curves: "Mapping[str, FigureData | None]" = MappingProxyType({}),
    ) -> str | None:
        """Write rows, summary and figures; return the line that names them, or print JSON.

        Args:
            curves: further figures by file name.
        """
        options, folder = self.options, self.folder
        write_csv(folder / "rows.csv", judged.rows)
        data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (folder / "summary.json").write_bytes(data)
        drawn = ""
        if options.figures:
            from callwise.tuning.figures.figure_files import sweep_figures, write_figures

            figures = sweep_figures(
                judged.rows, unit=judged.unit, margin_share=options.margin_share
            )
            figures |= {name: each for name, each in curves.items() if each is not None}
            drawn = f", {len(write_figures(figures, folder / 'figures'))} figures"
        if options.as_json:
            print_json({**document, "folder": str(folder)})
            return None
        return f"sweep: {folder}   (rows.csv, summary.json{drawn})"

    def stop(self, alone: MeasuredSweep, what: str, empty: Mapping[str, Any]) -> None:
        """Print why nothing can be recommended yet, and what leads to it.

        Args:
            what: what cannot be proposed, such as `table`.
            empty: fields of the JSON that have nothing.
        """
        found: Analysis = alone.analysis
        if self.options.as_json:
            print_json({**analysis_json(found), **empty, "folder": str(self.folder)})
            return
        print_wrapped(tables_text([settings_table(found)]).rstrip())
        for line in legend_lines(found):
            say(line)
        say(buy_sentence(to_buy(alone.judged.rows)))
        if not found.by:
            say(f"No {what} can be proposed: no reply was judged.")
            return
        say(f"No {what} can be proposed: the replies of the other models are not recorded.")
        if self.is_buying:
            return
        say("Next, buy them; the price is shown first:")
        say(f"  {self.again('--buy')}")


def open_models(options: "TuneOptions", flag: str) -> ModelSweeps:
    """Return the sweeps of a command, once what it was given can work.

    Raises:
        ConfigError: when nothing can go to another model, a price is missing, or options do not
            fit.
    """
    _check_options(options, flag)
    options = options.model_copy(
        update={"cost": "usd" if options.cost == "asked" else options.cost}
    )
    recording = open_recording(options.recording, app=options.app, trust=options.trust)
    _check_quality(options, flag, is_simulated=recording.is_simulated)
    check_judging(recording, options.quality_request, environ=os.environ)
    knobs = {} if options.models is None else models_of_file(options.models)
    known = opened(options.recording.resolve(), options.trust)
    space = space_of(known, knobs, options.max_turns)
    request = SweepRequest(
        recording=options.recording,
        spec=space.single_options(),
        folder=Path(),
        past=options.past,
        max_turns=options.max_turns,
        jobs=options.jobs,
        trust=options.trust,
    )
    own = (sweep_name(request), flag.lstrip("-"), *((options.by,) if options.cascade else ()))
    folder = options.out if options.out is not None else RUNS / "-".join(own)
    if options.fresh:
        for part in ("options", "tables", "alone", "cascades"):
            SweepStore.clear(folder / part)
    folder.mkdir(parents=True, exist_ok=True)
    return ModelSweeps(options, flag, recording, space, replace(request, folder=folder))


def _check_options(options: "TuneOptions", flag: str) -> None:
    if options.route and options.cascade:
        raise ConfigError("--route and --cascade are tuned one at a time; leave one out")
    wrong = {
        "--grid": options.grid is not None,
        "--knob": bool(options.knobs),
        "--race": options.race,
        "--log": bool(options.log_to),
        "--cluster": options.cluster is not None,
    }
    for name, is_given in wrong.items():
        if is_given:
            raise ConfigError(
                f"{name} does not go with {flag}, which makes its own settings; leave one out"
            )
    if options.cascade and options.cost not in ("asked", "usd"):
        raise ConfigError(f"--cascade lowers USD, and --cost is {options.cost}: leave that out")
    if options.cascade and options.past == "own":
        raise ConfigError("--cascade compares replies to the same messages: leave out --past own")
    if options.batch and not options.buy:
        raise ConfigError("--batch needs --buy")


def _check_quality(options: "TuneOptions", flag: str, *, is_simulated: bool) -> None:
    """Refuse a request without quality before anything is bought for it."""
    if options.quality_request.is_open(is_simulated=is_simulated):
        raise ConfigError(
            f"{flag} compares quality, and none is known: give --quality referee or --labels"
        )
