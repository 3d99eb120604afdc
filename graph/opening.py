"""Opening a session: endpoints, budgeter, memory and graph, closed in reverse."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from graph.answering import endpoints_of, secret_values
from graph.engine import Engine
from graph.session import ReplySession
from graph.settings import Settings
from graph.wiring import build_graph
from nodes.prompt import load_prompts
from turnwise.budget.budgeter import Budgeter
from turnwise.budget.cache_disk import DiskCache
from turnwise.budget.clock import SystemClock, VirtualClock
from turnwise.budget.layers.cache import MemoryCache, ReplyCache
from turnwise.budget.layers.ledger import RowSink
from turnwise.budget.recorder import Recorder
from turnwise.calls import Endpoint, Role
from turnwise.calls.errors import ConfigError
from turnwise.memory.book import MemoryBook
from turnwise.memory.over_store import open_book
from turnwise.memory.sqlite_store import SqliteMemoryStore
from turnwise.replay.app import Notices
from turnwise.replay.learned_endpoints import LearnedEndpoints

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

__all__ = ["make_engine", "open_session"]


def _cache_of(settings: Settings, *, is_offline: bool) -> ReplyCache | None:
    """Return the cache of settings.

    Raises:
        ConfigError: when only a file names its folder, and that is somewhere else.
    """
    knobs = settings.cache
    memory = MemoryCache(knobs.memory_entries) if knobs.memory_entries else None
    # A replay has every answer, and what a folder holds may change none of it.
    if knobs.disk is not None and not is_offline:
        if not settings.trust.writes_to(knobs.disk):
            raise ConfigError(
                f"only a file names the folder cache.disk={knobs.disk}, which is not below the "
                "working directory: set it by --set cache.disk=... or TURNWISE__CACHE__DISK"
            )
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
    is_offline: bool = False,
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
        secrets=() if is_offline else secret_values(settings),
        sinks=sinks,
        max_kept_rows=0,
        advises_by_path=True,
        notify=notify,
    )
    return Engine(settings, budgeter, endpoints, book)


async def _checkpoints(path: Path, stack: AsyncExitStack) -> "AsyncSqliteSaver":
    """Return the checkpoints of a file, which may be anybody's: plain data is read, no code.

    LangGraph's default would import and call whatever a checkpoint names.
    """
    import aiosqlite  # noqa: PLC0415 - optional
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: PLC0415 - optional
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - optional

    connection = await stack.enter_async_context(aiosqlite.connect(path))
    return AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))


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
    cache = _cache_of(settings, is_offline=is_offline)
    engine = make_engine(
        settings,
        endpoints,
        book,
        recorder=recorder,
        cache=cache,
        sinks=(),
        notify=notices.tell,
        is_offline=is_offline,
    )
    stack.push_async_callback(engine.budgeter.aclose)
    stack.callback(engine.close)
    await asyncio.to_thread(load_prompts)
    await engine.budgeter.prepare()
    checkpointer = None
    if keep_checkpoints:
        checkpointer = await _checkpoints(folder / "checkpoints.sqlite", stack)
    return ReplySession(
        engine=engine,
        graph=build_graph(overlap=settings.overlap, fuse=settings.fuse, checkpointer=checkpointer),
        is_simulated=all(endpoint.client.is_simulated for endpoint in endpoints.values()),
        is_checkpointed=checkpointer is not None,
        is_direct=is_offline and checkpointer is None,
        notices=notices,
    )
