"""`callwise serve`: awake agents behind websockets, HTTP and a page."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwise.cli.draining import SignalDrain
from callwise.cli.options import (
    CommandOptions,
    SetOption,
    TrustCodeOption,
    TrustEndpointOption,
)
from callwise.cli.terminal import clear_errors, kept_words, say

if TYPE_CHECKING:
    from callwise.serve import Access
    from callwise.wake import WakeStore
    from callwise.wake.wake_settings import WakeSettings

__all__ = ["serve"]

_DEFAULT_STORE = Path("callwise-runs/wake.sqlite")

_STATUS_FOLDER = Path("callwise-runs/serve")
"""Folder of `status.json`, where `metrics.status` is on."""

_CLOSING_SECONDS = 0.5
"""Longest wait for a collector at the end, which takes 5 s in all."""


class ServeOptions(CommandOptions):
    """Options of `callwise serve`."""

    file: Annotated[
        Path | None,
        typer.Argument(help="YAML file of agents, their models, and knobs; see docs/wake.md."),
    ] = None
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve five shipped agents on simulated models.")
    ] = False
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen at; 0 for a free one.")
    ] = 8770
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Any other than this machine's own lets others connect, "
            "without encryption: put a proxy with TLS before it."
        ),
    ] = "127.0.0.1"
    origins: Annotated[
        list[str],
        typer.Option(
            "--origin",
            metavar="ORIGIN",
            help="Origin whose pages may connect next to the server's own, such as that of a "
            "proxy: https://chat.example. Repeatable.",
        ),
    ] = []
    store: Annotated[
        Path | None,
        typer.Option(
            help="SQLite file of chat, credits, memories and the outbox. Default: none is kept "
            "with --demo; else callwise-runs/wake.sqlite."
        ),
    ] = None
    feedback: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Run folder for feedback on replies (POST /feedback), for callwise report. "
            "Default: the store's name with .feedback; none where no store is kept.",
        ),
    ] = None
    now: Annotated[
        bool,
        typer.Option("--now", help="Wake for the present hour too, if no process has woken it."),
    ] = False
    overrides: SetOption = []
    trust_endpoints: TrustEndpointOption = []
    trust_code: TrustCodeOption = []


def serve(options: ServeOptions) -> None:
    """Serve a chat of awake agents: a page, websockets, HTTP, and metrics.

    callwise serve --demo

    callwise serve agents.yaml --port 8770

    The token is that of CALLWISE_SERVE_TOKEN; without it one is made and printed. Models without
    an endpoint are simulated, on the real clock. SIGTERM and Ctrl-C end it within 5 seconds.
    """
    is_kept = options.store is not None or not options.demo
    with clear_errors(f"stopped; {kept_words(is_kept)}"):
        _check_extra()
        from callwise.calls.errors import ConfigError, RunStopped
        from callwise.calls.trust import confirmed, endpoint_lines
        from callwise.serve.access import TOKEN_VARIABLE, Access, made_token
        from callwise.shipped import configs_folder
        from callwise.wake import WakeStore
        from callwise.wake.wake_settings import read_wake_settings

        if (options.file is None) != options.demo:
            raise ConfigError(
                "give either a file of agents or --demo, for example: callwise serve --demo"
            )
        given = os.environ.get(TOKEN_VARIABLE)
        access = Access(made_token() if given is None else given, options.host, options.origins)
        settings: WakeSettings = confirmed(
            read_wake_settings(
                options.file or configs_folder() / "wake" / "five_agents.yaml",
                overrides=options.overrides,
                environ=os.environ,
                is_shipped=options.demo,
            ),
            options.trust_endpoints,
            options.trust_code,
        )
        for line in endpoint_lines(settings, os.environ):
            say(line)
        path: Path | str = ":memory:"
        feedback = options.feedback
        if is_kept:
            path = options.store or _DEFAULT_STORE
            path.parent.mkdir(parents=True, exist_ok=True)
            feedback = feedback or path.with_name(f"{path.name}.feedback")
        from callwise.serve import DRAIN_SECONDS

        drain = SignalDrain(DRAIN_SECONDS)
        with WakeStore(path) as store, drain.ending():
            asyncio.run(
                _served(
                    settings,
                    store,
                    access,
                    options,
                    drain,
                    is_token_made=given is None,
                    feedback=feedback,
                )
            )
            if drain.received is not None and not is_kept:
                if drain.received is signal.SIGINT:
                    raise KeyboardInterrupt
                raise RunStopped(f"the run has stopped; {kept_words(False)}")
            drain.check()


def _check_extra() -> None:
    """Raise an error that names the extra where one of its packages is missing."""
    from importlib.util import find_spec

    from callwise.calls.errors import ConfigError
    from callwise.optional_library import install_hint

    needed = ("prometheus_client", "starlette", "uvicorn", "websockets")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ConfigError(f"`callwise serve` needs {', '.join(missing)}: {install_hint('serve')}")


async def _served(
    settings: "WakeSettings",
    store: "WakeStore",
    access: "Access",
    options: ServeOptions,
    drain: SignalDrain,
    *,
    is_token_made: bool,
    feedback: Path | None,
) -> None:
    from callwise.report.observed import observing
    from callwise.serve import RoomHost, serve_room
    from callwise.serve.access import TOKEN_VARIABLE, is_loopback
    from callwise.serve.connections import MAX_CLIENTS, limits_of, raised_file_limit
    from callwise.wake.memory_stores import opened_memory

    files = raised_file_limit()
    limits = limits_of(files)

    def ready(url: str) -> None:
        if limits.clients < MAX_CLIENTS:
            say(f"at most {limits.clients:,} clients: {files:,} open files are allowed (ulimit -n)")
        if host.is_simulated:
            say("a simulated model answers; its texts, tokens and prices are made up")
        if not is_loopback(access.host):
            say(f"{access.host} can be reached by other machines, without encryption")
        if is_token_made:
            say(f"the token, made for this process: {access.token}")
            say(f"page: {url}/#token={access.token}")
        else:
            say(f"page: {url}/ with the token of {TOKEN_VARIABLE}")

    async with opened_memory(settings.memory, os.environ) as memory:
        host = RoomHost(
            settings,
            store,
            settings.served_by(os.environ),
            notify=say,
            secrets=settings.secrets(os.environ),
            is_first_now=options.now,
            memory=memory,
            feedback=feedback,
        )
        with (
            observing(
                settings,
                settings.metrics,
                settings.traces,
                folder=_STATUS_FOLDER,
                notify=say,
                closing_seconds=_CLOSING_SECONDS,
            ) as observe,
            observe(host.budgeter),
            drain.watching(host),
        ):
            await serve_room(host, access, port=options.port, limits=limits, on_ready=ready)
