"""Commands that ask no model: `plan`, `knobs`, `presets`, `cassette`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callwise.calls.errors import ConfigError
from callwise.cli.options import (
    AppOption,
    AppOptions,
    CommandOptions,
    JsonOption,
    PresetOption,
    SetOption,
)
from callwise.cli.terminal import (
    EXIT_FAILED,
    clear_errors,
    print_json,
    print_safe,
    print_wrapped,
    say,
    screen,
)
from callwise.safe_text import printable
from callwise.text_layout import aligned

if TYPE_CHECKING:
    from pydantic import BaseModel

    from callwise.plans import Assumptions
    from callwise.recordings.app_protocol import App
    from callwise.report.run_record import CallLine

__all__ = [
    "cassette",
    "knobs",
    "opened_app",
    "plan",
    "presets",
    "say_endpoints",
]


def opened_app(options: AppOptions) -> "tuple[App, BaseModel]":
    """Return the app and its settings, and print what comes from environment variables.

    Raises:
        ConfigError: when one of them cannot be used.
    """
    from callwise.calls.trust import confirmed
    from callwise.recordings.app_protocol import load_app
    from callwise.recordings.unused_variables import unused_variables

    app = load_app(options.app)
    settings = confirmed(
        app.settings(options.preset, options.overrides), options.trust_endpoints, options.trust_code
    )
    _say_environment(app, options.overrides)
    for line in unused_variables(app, settings, os.environ):
        say(line)
    return app, settings


def _say_environment(app: "App", overrides: Sequence[str]) -> None:
    """Print the knobs from environment variables that no override replaces."""
    from callwise.knobs.presets import whole_path
    from callwise.recordings.app_protocol import ReadsEnvironment

    taken = app.environment_knobs() if isinstance(app, ReadsEnvironment) else ()
    if taken:
        model = app.settings_model()
        overridden = {whole_path(each.partition("=")[0].strip(), model) for each in overrides}
        shown = [each.override for each in taken if each.path not in overridden]
        say(f"knobs from the environment: {', '.join(shown) or 'all of them overridden'}")


def say_endpoints(settings: object) -> None:
    """Print the endpoints that a preset file or a recording names, those of arms too."""
    from callwise.calls.trust import endpoint_lines

    experiment, of_arm = (getattr(settings, name, None) for name in ("experiment", "of_arm"))
    arms = [] if experiment is None or of_arm is None else map(of_arm, experiment.arms)
    lines = (line for each in (settings, *arms) for line in endpoint_lines(each, os.environ))
    for line in dict.fromkeys(lines):
        say(line)


class PlanOptions(CommandOptions):
    """Options of `callwise plan`."""

    preset: PresetOption = None
    overrides: SetOption = []
    latency_seconds: Annotated[
        float, typer.Option(min=0.0, max=86_400.0, help="Seconds that one request takes.")
    ] = 1.0
    latencies: Annotated[
        list[str],
        typer.Option(
            "--latency", help="Seconds of a purpose's requests, as judge=0.4. Repeatable."
        ),
    ] = []
    rpm: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e12, help="Requests per minute that are allowed."),
    ] = None
    tpm: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e12, help="Tokens per minute that are allowed."),
    ] = None
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Requests at a time that are allowed.")
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(help="Folder of a run: its latencies and tokens, and its turns once more."),
    ] = None
    users: Annotated[int, typer.Option(min=1, help="Users at the same time.")] = 1
    turns: Annotated[int, typer.Option(min=1, help="Turns of each user, one after another.")] = 1
    as_json: JsonOption = False
    app: AppOption = "graph.app:app"


def plan(options: PlanOptions) -> None:
    """Show the cost of one turn, and the time of many, from the knobs alone: no model is asked.

    callwise plan --preset classic --set search.rollouts=2 --latency-seconds 0.8 --rpm 60

    callwise plan --users 8 --turns 10 --rpm 60 --tpm 90000 --concurrency 5
    """
    with clear_errors():
        from callwise.knobs import misspelt_variables
        from callwise.plans import plan_rows, recorded_json, recorded_rows
        from callwise.recordings.app_protocol import HasArms, load_app

        app = load_app(options.app)
        settings = app.settings(options.preset, options.overrides)
        _say_environment(app, options.overrides)
        for line in misspelt_variables(os.environ, [app.settings_model()], str(settings)):
            say(line)
        calls = _recorded_calls(options.record)
        arms = dict(app.arms(settings)) if isinstance(app, HasArms) else {}
        documents = {}
        for arm, knobs in (arms or {"": settings}).items():
            turn_plan = app.plan(knobs)
            if turn_plan is None:
                raise ConfigError(
                    f"the calls of {options.app} are not known before it runs: record it (callwise "
                    f"replay CONVERSATION --app {options.app} --record FILE --out DIR), and see "
                    "callwise report DIR"
                )
            assumptions = _assumed(options, turn_plan.assumptions.with_record(calls))
            if options.as_json:
                documents[arm] = turn_plan.as_json(assumptions) | recorded_json(calls, assumptions)
                continue
            if arm:
                print_wrapped(f"arm {arm}")
            lines = plan_rows(turn_plan, assumptions, screen=screen())
            print_safe("\n".join(lines) + "\n")
            for row in recorded_rows(calls, assumptions):
                print_wrapped(row)
        if options.as_json:
            print_json({"arms": documents} if arms else documents[""])


def _recorded_calls(folder: Path | None) -> "Sequence[CallLine]":
    """Return the calls of a run's folder; none without one."""
    if folder is None:
        return ()
    from callwise.report.run_record import load_run

    return load_run(folder).rows


def _assumed(options: PlanOptions, known: "Assumptions") -> "Assumptions":
    """Return a plan's assumptions with those of the command line laid over them.

    Raises:
        ConfigError: for a latency of no purpose, or limits that contradict each other.
    """
    from callwise.calls.call import Purpose
    from callwise.calls.load.load_knobs import LoadKnobs

    latencies = dict(known.latencies)
    for text in options.latencies:
        name, _, seconds = text.partition("=")
        try:
            latencies[Purpose(name.strip())] = float(seconds)
        except ValueError:
            raise ConfigError(
                f"expected --latency PURPOSE=SECONDS, such as judge=0.4, got {text!r}; purposes: "
                f"{', '.join(Purpose)}"
            ) from None
    rate = {"requests_per_minute": options.rpm, "tokens_per_minute": options.tpm}
    rate = {name: most for name, most in rate.items() if most is not None}
    given: dict[str, Any] = {"rate": rate} if rate else {}
    if options.concurrency is not None:
        given["schedule"] = {
            "max_concurrency": options.concurrency,
            "max_embedding_concurrency": options.concurrency,
            "max_tasks": options.concurrency,
        }
    try:
        return replace(
            known,
            latency_seconds=options.latency_seconds,
            latencies=latencies,
            load=known.load.laid_under(LoadKnobs.model_validate(given)),
            users=options.users,
            turns=options.turns,
        )
    except ValueError as error:
        raise ConfigError(f"the plan cannot be made: {error}") from None


class KnobsOptions(CommandOptions):
    """Options of `callwise knobs`."""

    contains: Annotated[str, typer.Argument(help="Show only knobs whose name contains this.")] = ""
    preset: PresetOption = None
    app: AppOption = "graph.app:app"


def knobs(options: KnobsOptions) -> None:
    """List every knob with its value in a preset, its range and its effect."""
    with clear_errors():
        from callwise.knobs import knob_paths
        from callwise.recordings.app_protocol import load_app

        app = load_app(options.app)
        settings = app.settings(options.preset)
        found = [each for each in knob_paths(app.settings_model()) if options.contains in each.path]
        if not found:
            raise ConfigError(
                f"no knob's name contains {options.contains!r}; `callwise knobs` lists all"
            )
        for knob in found:
            value: object = settings
            for part in knob.path.split("."):
                value = getattr(value, part, None)
            is_off = value is None and knob.default_once_set is not None
            once_set = f" ({knob.default_once_set} once its group is set)" if is_off else ""
            print_wrapped(f"{knob.path} = {value}{once_set}")
            print_wrapped(f"    {knob.type}{', ' + knob.range if knob.range else ''}. {knob.doc}")


class PresetsOptions(CommandOptions):
    """Options of `callwise presets`."""

    app: AppOption = "graph.app:app"


def presets(options: PresetsOptions) -> None:
    """List the shipped presets, with the calls that each plans for one turn."""
    with clear_errors():
        from callwise.recordings.app_protocol import load_app

        app = load_app(options.app)
        rows: list[tuple[str, ...]] = [
            ("preset", "calls per turn", "rounds to the reply", "rounds in all")
        ]
        for name in app.presets():
            plan = app.plan(app.settings(name))
            if plan is None:
                rows.append((name, "known once it is recorded", "", ""))
                continue
            planned = plan.as_json()["scenarios"]["default"]
            rounds = planned["rounds"]
            rows.append((name, *map(str, (planned["asked"], rounds["reply"], rounds["turn"]))))
        cells = [tuple(map(printable, row)) for row in rows]
        print_safe("\n".join(aligned(cells, numbers=(1, 2, 3), screen=screen())) + "\n")


class CassetteOptions(CommandOptions):
    """Options of `callwise cassette`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of calls.")]
    seal: Annotated[
        bool,
        typer.Option(
            "--seal", help="Give every line a new checksum, after you changed it on purpose."
        ),
    ] = False
    as_json: JsonOption = False


def cassette(options: CassetteOptions) -> None:
    """Read every line of a recording, and name those that are damaged.

    Ends with 1 where a line is damaged. After a change on purpose, `--seal` makes the file
    whole again; a recording of an older version becomes one of the present version.

    callwise cassette talk.cassette.jsonl

    callwise cassette talk.cassette.jsonl --seal
    """
    with clear_errors():
        from dataclasses import asdict

        from callwise.recordings.cassette_inspection import seal_cassette, survey_cassette

        if options.seal:
            try:
                seal_cassette(options.file)
            except OSError as error:
                raise ConfigError(
                    f"cannot seal {options.file}: {error.strerror or error}"
                ) from error
        found = survey_cassette(options.file)
        if options.as_json:
            print_json(asdict(found))
        else:
            lines = [f"{found.exchanges:,} calls, with checksums"]
            if found.normalise:
                lines.append(f"keys leave out: {', '.join(found.normalise)}")
            if found.recovered_bytes:
                lines.append(f"a broken last line of {found.recovered_bytes:,} bytes is left out")
            lines += found.damaged
            if found.damaged_count > len(found.damaged):
                lines.append(f"{found.damaged_count - len(found.damaged):,} more damaged lines")
            print_wrapped("\n".join(lines))
        if found.damaged_count:
            raise typer.Exit(EXIT_FAILED)
