"""Opening a session: endpoints, budgeter, memory and graph, closed in reverse."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from graph.answering import endpoints_of, secret_values
from graph.engine import Engine
from graph.session import ReplySession
from graph.settings import CacheKnobs, Settings
from graph.wiring import build_graph
from nodes.prompt import load_prompts
from turnwise.budget.budgeter import Budgeter
from turnwise.budget.cache import MemoryCache, ReplyCache
from turnwise.budget.clock import SystemClock, VirtualClock
from turnwise.budget.disk_cache import DiskCache
from turnwise.budget.ledger import RowSink
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.recorder import Recorder
from turnwise.calls import Endpoint, Role
from turnwise.memory.book import MemoryBook
from turnwise.memory.over_store import open_book
from turnwise.memory.sqlite_store import SqliteMemoryStore
from turnwise.replay.app import Notices
from turnwise.replay.learned_endpoints import LearnedEndpoints

__all__ = ["make_engine", "open_session"]


def _cache_of(knobs: CacheKnobs) -> ReplyCache | None:
    memory = MemoryCache(knobs.memory_entries) if knobs.memory_entries else None
    if knobs.disk is not None:
        return DiskCache(Path(knobs.disk), memory=memory)
    return memory


def make_engine(
    settings: Settings,
    endpoints: Mapping[Role, Endpoint],
    book: MemoryBook,
    *,
    recorder: Recorder | None,
    cache: ReplyCache | None,
    sinks: Sequence[RowSink],
    notify: Callable[[str], None] | None = None,
) -> Engine:
    """Return an engine over endpoints and a memory book; `sinks` are told its ledger rows."""
    needs_no_waiting = all(endpoint.client.is_simulated for endpoint in endpoints.values())
    budgeter = Budgeter(
        endpoints,
        clock=VirtualClock() if needs_no_waiting else SystemClock(),
        cache=cache,
        recorder=recorder,
        limits=settings.budget.run,
        retry=settings.retry,
        seed=settings.seed,
        secrets=secret_values(settings),
        sinks=sinks,
        max_kept_rows=0,
        advises_by_path=True,
        notify=notify,
    )
    return Engine(settings, budgeter, endpoints, book)


async def open_session(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    folder: Path,
    recorder: Recorder | None,
    is_offline: bool,
    keep_checkpoints: bool,
    book: MemoryBook | None = None,
) -> ReplySession:
    """Return an open session; `stack` closes it. Memory is `book`, or stands in `folder`.

    Raises:
        ConfigError: when a setting cannot work; nothing was sent.
        StoreFailed: when the memory in `folder` cannot be opened.
    """
    endpoints = endpoints_of(settings, is_offline=is_offline)
    notices = Notices()
    if not is_offline:
        LearnedEndpoints(folder, notices).follow(endpoints)
    if book is None:
        book = open_book(stack.enter_context(SqliteMemoryStore(folder / "memory.sqlite")))
    cache = _cache_of(settings.cache)
    rows: list[LedgerRow] = []
    engine = make_engine(
        settings,
        endpoints,
        book,
        recorder=recorder,
        cache=cache,
        sinks=(rows.append,),
        notify=notices.tell,
    )
    stack.push_async_callback(engine.budgeter.aclose)
    stack.callback(engine.close)
    await asyncio.to_thread(load_prompts)
    await engine.budgeter.prepare()
    checkpointer = None
    if keep_checkpoints:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - optional

        saver = AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite"))
        checkpointer = await stack.enter_async_context(saver)
    return ReplySession(
        engine=engine,
        graph=build_graph(overlap=settings.overlap, fuse=settings.fuse, checkpointer=checkpointer),
        is_simulated=all(endpoint.client.is_simulated for endpoint in endpoints.values()),
        rows=rows,
        is_checkpointed=checkpointer is not None,
        is_direct=is_offline and checkpointer is None,
        notices=notices,
    )
