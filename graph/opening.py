"""Opening a session: endpoints, budgeter, memory and graph, closed in reverse."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from graph.engine import Engine
from graph.offline import offline
from graph.session import ReplySession
from graph.settings import Settings
from graph.wiring import build_graph
from turnwise.budget.budgeter import Budgeter
from turnwise.budget.cache import AnswerCache, open_cache
from turnwise.budget.clock import SystemClock, VirtualClock
from turnwise.budget.ledger import RowSink
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.recorder import Recorder
from turnwise.calls import Endpoint, Role
from turnwise.calls.endpoints import EndpointSettings, endpoints_from_settings
from turnwise.memory.over_store import open_book
from turnwise.memory.sqlite_store import SqliteMemoryStore

__all__ = ["endpoints_of", "make_engine", "open_session"]

_DEFAULT_KEY_VARIABLE = "TURNWISE_API_KEY"


def endpoints_of(
    settings: Settings, *, environ: Mapping[str, str] | None = None, is_offline: bool = False
) -> dict[Role, Endpoint]:
    """Return who answers each role.

    Args:
        settings: the knobs.
        environ: environment variables; None takes the process's own.
        is_offline: nobody answers, and no key is needed.

    Raises:
        ConfigError: when an endpoint is not whole; names the variable to set.
    """
    variables = dict(os.environ if environ is None else environ)
    chosen = {role: _seeded(endpoint, settings.seed) for role, endpoint in settings.endpoints.items()}
    if not is_offline:
        return dict(endpoints_from_settings(chosen, environ=variables))
    # A key is part of no call's identity: a replay on a machine without one is the same.
    for name in {_DEFAULT_KEY_VARIABLE, *(each.api_key_env for each in chosen.values())}:
        variables.setdefault(name, "offline")
    return offline(endpoints_from_settings(chosen, environ=variables))


def _seeded(endpoint: EndpointSettings, seed: int) -> EndpointSettings:
    if endpoint.kind != "simulated" or seed == 0 or "seed" in endpoint.simulated:
        return endpoint
    return endpoint.model_copy(update={"simulated": {**endpoint.simulated, "seed": seed}})


def make_engine(
    settings: Settings,
    endpoints: Mapping[Role, Endpoint],
    store: SqliteMemoryStore,
    *,
    recorder: Recorder | None,
    cache: AnswerCache | None,
    sinks: Sequence[RowSink],
) -> Engine:
    """Return an engine over endpoints and a memory store; `sinks` are told its ledger rows."""
    needs_no_waiting = all(endpoint.client.is_simulated for endpoint in endpoints.values())
    budgeter = Budgeter(
        endpoints,
        clock=VirtualClock() if needs_no_waiting else SystemClock(),
        cache=cache,
        recorder=recorder,
        limits=settings.budget.run,
        retry=settings.retry,
        seed=settings.seed,
        sinks=sinks,
        max_kept_rows=0,
    )
    return Engine(settings, budgeter, open_book(store))


async def open_session(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    folder: Path,
    recorder: Recorder | None,
    is_offline: bool,
    keep_checkpoints: bool,
) -> ReplySession:
    """Return an open session; `stack` closes it.

    Raises:
        ConfigError: when a setting cannot work; nothing was sent.
        StoreFailed: when the memory in `folder` cannot be opened.
    """
    endpoints = endpoints_of(settings, is_offline=is_offline)
    for client in {id(each.client): each.client for each in endpoints.values()}.values():
        stack.push_async_callback(client.aclose)
    store = stack.enter_context(SqliteMemoryStore(folder / "memory.sqlite"))
    cache = open_cache(memory_entries=settings.cache.memory_entries, disk=settings.cache.disk)
    if cache is not None:
        stack.push_async_callback(cache.aclose)
    rows: list[LedgerRow] = []
    engine = make_engine(settings, endpoints, store, recorder=recorder, cache=cache, sinks=(rows.append,))
    stack.callback(engine.close)
    checkpointer = None
    if keep_checkpoints:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - optional

        saver = AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite"))
        checkpointer = await stack.enter_async_context(saver)
    return ReplySession(
        engine=engine,
        graph=build_graph(overlap=settings.overlap, checkpointer=checkpointer),
        is_simulated=all(endpoint.client.is_simulated for endpoint in endpoints.values()),
        rows=rows,
        is_checkpointed=checkpointer is not None,
    )
