"""`callwise wake`: agents of a group chat that wake each hour, and what that costs."""

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwise.cli.options import (
    CommandOptions,
    JsonOption,
    SetOption,
    TrustCodeOption,
    TrustEndpointOption,
)
from callwise.cli.terminal import (
    EXIT_FAILED,
    clear_errors,
    kept_words,
    print_json,
    print_tables,
    say,
)
from callwise.cli.wake_results import (
    WakeResults,
    hours_table,
    results_document,
    variants_table,
)

if TYPE_CHECKING:
    from callwise.wake import WakeStore
    from callwise.wake.wake_settings import WakeSettings

__all__ = ["wake"]

_SIMULATED_START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""Time at which a run of simulated models begins."""

_DEFAULT_STORE = Path("callwise-runs/wake.sqlite")

_STATUS_FOLDER = Path("callwise-runs/wake")
"""Folder of `status.json` where no `--out` is given."""

_DAY = 24

VARIANTS = ("server_batch", "mixed", "agents_alone")
"""The ways of `wake.variant`, in the order in which `--compare` shows them."""


class WakeOptions(CommandOptions):
    """Options of `callwise wake`."""

    file: Annotated[
        Path | None,
        typer.Argument(help="YAML file of agents, their models, and knobs; see docs/wake.md."),
    ] = None
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Run a day of five shipped agents, and compare the variants."),
    ] = False
    hours: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Wakes after which it ends. Default: 24 where all models are simulated, which "
            "takes seconds; else it goes on until Ctrl-C.",
        ),
    ] = None
    now: Annotated[
        bool,
        typer.Option("--now", help="Wake for the present hour too, if no process has woken it."),
    ] = False
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Run the same hours under each `wake.variant`. Simulated models only."
        ),
    ] = False
    chat: Annotated[bool, typer.Option("--chat", help="Print each message as it comes.")] = False
    store: Annotated[
        Path | None,
        typer.Option(
            help="SQLite file of chat, credits, memories and the outbox. Default: for simulated "
            "models none is kept; else callwise-runs/wake.sqlite."
        ),
    ] = None
    messages: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recorded group chat that people write, at its own times from the start on, in "
            "place of the `messages` of the file of agents; see docs/wake.md.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder to write: reports and chat as they come, and every call, for --cassette.",
        ),
    ] = None
    cassette: Annotated[
        Path | None,
        typer.Option(
            help="Play a run from the folder that --out has written, or the cassette in it, and "
            "send nothing. Give the other options as they were."
        ),
    ] = None
    overrides: SetOption = []
    trust_endpoints: TrustEndpointOption = []
    trust_code: TrustCodeOption = []
    as_json: JsonOption = False

    @property
    def compares(self) -> bool:
        """Whether the same hours run under each variant."""
        return self.compare or self.demo

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            ConfigError: when they do not.
        """
        from callwise.calls.errors import ConfigError

        if (self.file is None) != self.demo:
            raise ConfigError(
                "give either a file of agents or --demo, for example: callwise wake --demo"
            )
        if self.compares and (self.out or self.cassette):
            raise ConfigError(
                "--demo and --compare make several runs, and --out and --cassette are for one. "
                "Give a file of agents, without --compare"
            )
        if self.compares and self.store:
            raise ConfigError(
                "--demo and --compare make several runs, each from an empty store, and keep none. "
                "Leave out --store, or give a file of agents without --compare"
            )
        if self.cassette and (self.store or self.now):
            raise ConfigError("--cassette plays store and hours as recorded: no --store, no --now")


def wake(options: WakeOptions) -> None:
    """Wake the agents of a group chat each hour: one intent call, one request per model.

    callwise wake --demo

    callwise wake agents.yaml --now --chat

    Without an endpoint all models are simulated, and a day passes in seconds.
    """
    with clear_errors():
        from callwise.calls.errors import ConfigError
        from callwise.calls.trust import confirmed, endpoint_lines
        from callwise.shipped import configs_folder
        from callwise.wake.people import late_lines, with_chat
        from callwise.wake.wake_report import lost_hours_problem
        from callwise.wake.wake_settings import read_wake_settings

        options.check()
        path = options.file or configs_folder() / "wake" / "five_agents.yaml"
        settings: WakeSettings = confirmed(
            read_wake_settings(
                path, overrides=options.overrides, environ=os.environ, is_shipped=options.demo
            ),
            options.trust_endpoints,
            options.trust_code,
        )
        if options.cassette is not None:
            run, is_simulated = _replayed(settings, options, options.cassette)
            _show([run], options, is_simulated=is_simulated)
            return
        for line in endpoint_lines(settings, os.environ):
            say(line)
        endpoints = settings.served_by(os.environ)
        is_simulated = all(each.client.is_simulated for each in endpoints.values())
        if options.compares and not is_simulated:
            raise ConfigError(
                "--demo and --compare run the same hours several times, which models that are "
                "not simulated cannot. Run the command once with each --set wake.variant=..."
            )
        if options.compares and settings.memory.backend != "sqlite":
            raise ConfigError(
                "--demo and --compare run the same hours several times, and each run would read "
                "the notes of the one before. Use memory.backend=sqlite"
            )
        hours = options.hours or (_DAY if is_simulated else None)
        if options.messages is not None:
            settings, hours = with_chat(
                settings, options.messages, given=options.hours, hours=hours, notify=say
            )
        if late := late_lines(settings, hours):
            say(
                f"{(options.messages or path).name}: {late:,} lines come after the last hour; "
                "give more --hours for them"
            )
        variants = _variants(settings, compares=options.compares)
        is_kept = not options.compares and not (is_simulated and options.store is None)
        kept_at = (options.store or _DEFAULT_STORE) if is_kept else None
        with clear_errors(f"stopped; {kept_words(is_kept)}"):
            runs = [_ran(each, options, hours, kept_at, is_simulated) for each in variants]
        _show(runs, options, is_simulated=is_simulated)
        if problem := lost_hours_problem(runs[0].reports, runs[0].hours):
            say(f"callwise: {problem}")
            raise typer.Exit(EXIT_FAILED)


def _show(runs: "Sequence[WakeResults]", options: WakeOptions, *, is_simulated: bool) -> None:
    """Print what came of runs: tables, or with `as_json` one object."""
    tables = [hours_table(runs[0], is_simulated=is_simulated)]
    if options.compares:
        tables.append(variants_table(runs))
    if options.as_json:
        print_json(results_document(runs, is_simulated=is_simulated))
        return
    print_tables(tables)


def _variants(settings: "WakeSettings", *, compares: bool) -> "list[WakeSettings]":
    """Return the settings of each run, those that were asked for first."""
    others = [each for each in VARIANTS if compares and each != settings.wake.variant]
    knobs = [settings.wake.model_copy(update={"variant": each}) for each in others]
    return [settings, *(settings.model_copy(update={"wake": each}) for each in knobs)]


def _ran(
    settings: "WakeSettings",
    options: WakeOptions,
    hours: int | None,
    path: Path | None,
    is_simulated: bool,
) -> WakeResults:
    """Return what came of a run, in virtual time where all models are simulated."""
    from callwise.budget.virtual_time import run_in_virtual_time
    from callwise.wake import WakeStore

    run = WakeResults(
        settings.wake.variant,
        extracts_facts=settings.wake.memory == "extracted",
        shows_chat=options.chat and not options.as_json,
        shows_wakes=not is_simulated,
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with WakeStore(path or ":memory:") as store:
        running = _woken(settings, store, run, options, hours, is_simulated=is_simulated)
        if is_simulated:
            run_in_virtual_time(running)
        else:
            asyncio.run(running)
    return run


async def _woken(
    settings: "WakeSettings",
    store: "WakeStore",
    run: WakeResults,
    options: WakeOptions,
    hours: int | None,
    *,
    is_simulated: bool,
) -> None:
    from callwise.budget.clock import LoopClock
    from callwise.report.observed import observing
    from callwise.wake.memory_stores import opened_memory
    from callwise.wake.recorded_run import run_settings

    clock = LoopClock()
    start = _start_of(store, settings) - clock.now()
    with observing(
        settings,
        settings.metrics,
        settings.traces,
        folder=options.out or _STATUS_FOLDER,
        notify=say,
        is_simulated_time=is_simulated,
    ) as observe:
        async with opened_memory(settings.memory, os.environ, is_virtual=is_simulated) as memory:
            run.hours = await run_settings(
                settings,
                store,
                settings.served_by(os.environ),
                run,
                clock=clock,
                wall=(lambda: start + clock.now()) if is_simulated else time.time,
                count=hours,
                is_first_now=options.now,
                out=options.out,
                keeps_store=options.store is not None or not is_simulated,
                notify=say,
                secrets=settings.secrets(os.environ),
                memory=memory,
                observe=observe,
            )


def _replayed(
    settings: "WakeSettings", options: WakeOptions, cassette: Path
) -> tuple[WakeResults, bool]:
    """Return what came of a recorded run, and whether its models were simulated."""
    from callwise.report.observed import observing
    from callwise.wake.people import with_chat
    from callwise.wake.recorded_run import replay_wakes
    from callwise.wake.wake_recording import RecordedWakes

    recorded = RecordedWakes.read(cassette)
    if options.messages is not None:
        hours = recorded.manifest.hours
        settings, _ = with_chat(settings, options.messages, given=hours, hours=hours, notify=say)
    run = WakeResults(
        settings.wake.variant,
        extracts_facts=settings.wake.memory == "extracted",
        shows_chat=options.chat and not options.as_json,
    )
    with observing(settings, None, settings.traces, folder=cassette, notify=say) as observe:
        found = replay_wakes(
            settings, recorded, run, hours=options.hours, out=options.out, observe=observe
        )
    say(f"{recorded.cassette}: {found.played_count:,} calls played, 0 requests sent")
    if recorded.unended and options.hours is None:
        say(
            "the run was stopped: hours and messages that had begun and not ended "
            f"({len(recorded.unended)}) are replayed as far as they had come, and have no report"
        )
    return run, recorded.manifest.is_simulated


def _start_of(store: "WakeStore", settings: "WakeSettings") -> float:
    """Return the time at which simulated hours begin: after all that a kept store has."""
    last = store.rooms.messages(settings.wake.room, limit=1, newest=True)
    return max([_SIMULATED_START, *(each.at for each in last)])
