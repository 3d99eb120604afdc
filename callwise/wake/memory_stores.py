"""Opening of the server that has the agents' notes: Postgres or Redis, through LangGraph.

The URL is in an environment variable and in no file, since it may have a password. It is in no
recording, log or error.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from callwise.calls.errors import ConfigError
from callwise.calls.redaction import redact
from callwise.optional_library import install_hint
from callwise.safe_text import printable
from callwise.wake.agent_memory import AgentMemory

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

__all__ = ["MEMORY_URL", "MemoryKnobs", "opened_memory"]

MEMORY_URL = "CALLWISE_MEMORY_URL"
"""Environment variable with the URL of the server."""

CONNECT_SECONDS = 10
"""Longest wait for a connection."""

POOL_SECONDS = 4
"""Longest wait for a connection that was lost, shorter than that for an answer."""

_MAX_CONNECTIONS = 4
_SCHEMES = {"postgres": ("postgresql", "postgres"), "redis": ("redis", "rediss")}
_EXTRAS = {"postgres": "postgres", "redis": "redis-memory"}

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]


class MemoryKnobs(BaseModel):
    """Knobs of the memory that has the agents' notes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["sqlite", "postgres", "redis"] = "sqlite"
    """Place of the agents' notes: the store's file; or a LangGraph store on the server whose URL is
    in the environment variable CALLWISE_MEMORY_URL."""
    namespace: Annotated[tuple[Label, ...], Field(min_length=1, max_length=8)] = (
        "callwise",
        "notes",
    )
    """Namespace of the notes on the server, of letters, digits and `_`. Two deployments whose
    agents have the same ids need two."""

    def check_given(self, memory: AgentMemory | None) -> None:
        """Refuse a run without the memory that these knobs name.

        Raises:
            ConfigError: when it is not given.
        """
        if self.backend != "sqlite" and memory is None:
            raise ConfigError(
                f"memory.backend is {self.backend}, and the run was given no memory. Give it that "
                "of callwise.wake.memory_stores.opened_memory"
            )


@asynccontextmanager
async def opened_memory(
    knobs: MemoryKnobs, environ: Mapping[str, str], *, is_virtual: bool = False
) -> AsyncIterator[AgentMemory | None]:
    """Open the memory of knobs; None where the notes are in the store's file.

    Tables and indexes are made where they are missing.

    Args:
        environ: environment variables.
        is_virtual: whether the running loop is one of virtual time: then the server is asked in
            calls that block it, since it may wait for no socket.

    Raises:
        ConfigError: when the variable is not set or has no URL of such a server, a package is
            missing, or the server cannot be reached or used.
    """
    if knobs.backend == "sqlite":
        yield None
        return
    url = _url(knobs, environ)
    secrets = _secrets(url)
    async with AsyncExitStack() as stack:
        try:
            # Loads LangGraph, and is used by few.
            from callwise.wake.langgraph_memory import LangGraphMemory  # noqa: PLC0415

            set_up = _set_up_postgres if knobs.backend == "postgres" else _set_up_redis
            store: BaseStore
            if is_virtual:
                set_up(url)
            else:
                await asyncio.to_thread(set_up, url)
            if knobs.backend == "redis":
                store = stack.enter_context(_redis(url))
            elif is_virtual:
                store = stack.enter_context(_postgres(url))
            else:
                store = await stack.enter_async_context(_async_postgres(url))
        except ImportError as error:
            raise ConfigError(
                f"memory.backend={knobs.backend} needs the package {error.name}: "
                f"{install_hint(_EXTRAS[knobs.backend])}"
            ) from None
        except Exception as error:  # noqa: BLE001 - any database's errors
            raise ConfigError(_refusal(knobs, error, secrets)) from None
        yield LangGraphMemory(
            store, prefix=knobs.namespace, blocks_loop=is_virtual, secrets=secrets
        )


def _url(knobs: MemoryKnobs, environ: Mapping[str, str]) -> str:
    """Return the URL of the server.

    Raises:
        ConfigError: when there is none, or it is of another kind of server.
    """
    url, schemes = environ.get(MEMORY_URL, "").strip(), _SCHEMES[knobs.backend]
    try:
        is_one = bool(urlsplit(url).scheme in schemes and "://" in url)
    except ValueError:  # half of an address
        is_one = False
    if not is_one:
        problem = "has no URL of such a server" if url else "is not set"
        raise ConfigError(
            f"memory.backend is {knobs.backend}, and the environment variable {MEMORY_URL} "
            f"{problem}. Set it to one that begins with {schemes[0]}://"
        )
    return url


def _secrets(url: str) -> list[str]:
    """Return the URL and the password in it, in each form."""
    parts = urlsplit(url)
    asked = [value for name, value in parse_qsl(parts.query) if "password" in name]
    found = [url, *asked, *([parts.password, unquote(parts.password)] if parts.password else [])]
    return [each for each in found if each]


def _refusal(knobs: MemoryKnobs, error: Exception, secrets: list[str]) -> str:
    """Return why a server cannot be used, without its URL."""
    text = " ".join(printable(redact(f"{type(error).__name__}: {error}", *secrets)).split())
    way = "Start it, or correct the URL"
    if knobs.backend == "redis":
        way += "; LangGraph's store needs Redis 8, or one with the modules search and JSON"
    return f"the {knobs.backend} server of {MEMORY_URL} cannot be used: {text[:300]}. {way}"


def _set_up_postgres(url: str) -> None:
    """Make the tables, on one connection, whose failure is named."""
    from langgraph.store.postgres import PostgresStore  # noqa: PLC0415 - an extra
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - an extra

    with PostgresStore.from_conn_string(make_conninfo(url, **_limits(url))) as store:
        store.setup()


def _limits(url: str) -> dict[str, Any]:
    """Return times after which a connection is given up, those that the URL leaves open."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - an extra

    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1_000 * CONNECT_SECONDS}
    given = conninfo_to_dict(url)
    return {name: value for name, value in limits.items() if name not in given}


def _pool(url: str, check: Any) -> Any:
    return {
        "min_size": 1,
        "max_size": _MAX_CONNECTIONS,
        "open": False,
        "timeout": POOL_SECONDS,
        "check": check,  # a server that was started again
        "kwargs": _limits(url),
    }


def _async_postgres(url: str) -> "AbstractAsyncContextManager[BaseStore]":
    from langgraph.store.postgres import AsyncPostgresStore  # noqa: PLC0415 - an extra
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415 - an extra

    pool = _pool(url, AsyncConnectionPool.check_connection)
    return AsyncPostgresStore.from_conn_string(url, pool_config=pool)


def _postgres(url: str) -> "AbstractContextManager[BaseStore]":
    from langgraph.store.postgres import PostgresStore  # noqa: PLC0415 - an extra
    from psycopg_pool import ConnectionPool  # noqa: PLC0415 - an extra

    pool = _pool(url, ConnectionPool.check_connection)
    return PostgresStore.from_conn_string(url, pool_config=pool)


def _set_up_redis(url: str) -> None:
    with _redis(url) as store:
        store.setup()


@contextmanager
def _redis(url: str) -> "Iterator[Any]":
    """Open the store with synchronous methods, since the other one needs a client before 8."""
    from langgraph.store.redis import RedisStore  # noqa: PLC0415 - an extra
    from redis import Redis  # noqa: PLC0415 - an extra

    with Redis.from_url(
        url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
    ) as client:
        yield RedisStore(client)
