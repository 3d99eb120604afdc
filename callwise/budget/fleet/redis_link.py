"""Link to a Redis server: one connection, on which the commands of a process travel together.

Problem: a connection for each waiter costs more than the commands themselves, and the waiters of
one process would overtake each other.

Choice: commands that are given while others are on their way wait, and go together once those
are answered: one write and one read for all of them, in the order in which they were given. No
timer and no thread; with one waiter a command goes immediately.

Rejected: a pool with a connection for each waiter (measured: 640 to 1,090 us a command at 32 to
256 waiters, against 200 on one connection); publishing to a task that polls.

Invariant: every command that is given ends in a reply, an error that is its, or
`BudgetStoreLost`; they are performed in the order in which they were given, and after a broken
connection maybe twice. So commands that change something must be safe to repeat. Only where another
client has flushed the scripts of the server, those that it then did not know come after others.

The only file that imports redis, and only once a link is used.
"""

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from callwise.calls.errors import BudgetStoreLost, ConfigError
from callwise.calls.redaction import redact
from callwise.optional_library import install_hint

if TYPE_CHECKING:
    from redis.asyncio import Connection

__all__ = ["RedisLink", "Script", "link_from_env"]

MIN_VERSION = (6, 2)
"""Oldest server whose scripts, sets and times this works with."""

MAX_TOGETHER = 512
"""Most commands in one write, so that the first replies are not kept back by the last."""

_FULL = "Its memory is full: raise its maxmemory, or delete keys that are not needed"
_REPLICA = "It is a replica: use the URL of its primary"
_CLUSTER = "Wait until the cluster is up"
_REMEDIES = {
    "LOADING": "Wait until it has read its data",
    "BUSY": "End the script of another program that it runs",
    "MASTERDOWN": _REPLICA,
    "MasterDownError": _REPLICA,
    "READONLY": _REPLICA,
    "ReadOnlyError": _REPLICA,
    "OOM": _FULL,
    "OutOfMemoryError": _FULL,
    "CLUSTERDOWN": _CLUSTER,
    "ClusterDownError": _CLUSTER,
    "MISCONF": "It cannot write its data to disk: see its log",
}
"""Way out where a server is there and cannot perform a command now, by the code of its error;
the client takes some codes away, and has a class of that error."""

_CODE = re.compile(rf"(?:^|[-\s])({'|'.join(_REMEDIES)})\b")
"""A code, which servers before 7 put behind the name of the script that met it."""

_LOGGER = logging.getLogger(__name__)


class Script:
    """A Lua script, which runs whole or not at all between the commands of other processes."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Command:
    __slots__ = ("arguments", "reply", "script")

    def __init__(
        self,
        arguments: tuple[Any, ...],
        reply: "asyncio.Future[Any]",
        script: Script | None = None,
    ) -> None:
        self.arguments = arguments
        self.reply = reply
        self.script = script


class RedisLink:
    """Sends commands to one server.

    Args:
        url: `redis://`, `rediss://` or `unix://`. Its password is in no text and no error.
        timeout_seconds: longest wait for a connection, and for the replies to one write.

    Raises:
        ConfigError: when the URL is not one, or the package is not installed.

    Attributes:
        address: host, port and database, for errors.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 2.0) -> None:
        self.address = _address(url)
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Command] = []
        self._pump: asyncio.Task[None] | None = None
        self._errors, self._pack = _redis_parts()
        self._known: set[str] = set()
        """Digests of the scripts that the server has from this connection."""
        self._commands = self._writes = self._connects = 0

    def __repr__(self) -> str:
        """Return the address, without the password."""
        return f"<RedisLink {self.address}>"

    def statistics(self) -> Mapping[str, int]:
        """Return commands, writes that they travelled in, and connections that were made."""
        return {
            "commands": self._commands,
            "writes": self._writes,
            "connections": self._connects,
        }

    def give(self, *arguments: Any, script: Script | None = None) -> "asyncio.Future[Any]":
        """Queue a command, and return the future of its reply. Does not wait.

        Cancelling the future does not take the command back.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A connection belongs to the loop that made it.
            self._loop, self._connection, self._pump, self._waiting = loop, None, None, []
            self._known.clear()
        command = _Command(arguments, loop.create_future(), script)
        self._waiting.append(command)
        if self._pump is None:
            self._pump = loop.create_task(self._send_waiting())
        return command.reply

    async def command(self, *arguments: Any) -> Any:
        """Return the reply to a command; texts as bytes.

        Raises:
            BudgetStoreLost: when the server does not answer.
            ConfigError: when it refuses the command, the user or the password.
        """
        return await self.give(*arguments)

    def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Any]
    ) -> "asyncio.Future[Any]":
        """Queue a script, and return the future of its reply; raises as `command`."""
        return self.give(len(keys), *keys, *arguments, script=script)

    async def aclose(self) -> None:
        """Wait for what was given, and close the connection. Safe to call twice."""
        if self._loop is not asyncio.get_running_loop():
            self._connection = None
            return
        while self._pump is not None:
            await asyncio.wait((self._pump,))
        await self._disconnect()

    async def _send_waiting(self) -> None:
        """Send what waits until nothing does."""
        try:
            while self._waiting:
                sent = self._waiting[:MAX_TOGETHER]
                del self._waiting[:MAX_TOGETHER]
                try:
                    await self._exchange(sent)
                except BaseException as error:
                    lost = error if isinstance(error, Exception) else self._lost("closed")
                    for command in (*sent, *self._waiting):
                        _fail(command, lost)
                    self._waiting.clear()
                    if not isinstance(error, BudgetStoreLost | ConfigError):
                        raise
        finally:
            self._pump = None

    async def _exchange(self, sent: list[_Command]) -> None:
        """Send commands together and read their replies; once again after a stale connection.

        Raises:
            BudgetStoreLost: when the server does not answer.
            ConfigError: when it cannot be used at all.
        """
        was_open = self._connection is not None
        try:
            replies = await self._replies(sent)
        except BudgetStoreLost:
            # A server that was started again, or a connection that it closed while idle.
            if not was_open:
                raise
            replies = await self._replies(sent)
        dropped = []
        for command, reply in zip(sent, replies, strict=True):
            if not isinstance(reply, self._errors.NoScriptError):
                self._answer(command, reply)
            elif not command.reply.done():
                dropped.append(command)
        if (
            dropped
        ):  # another client has flushed the scripts: what no waiter has given up goes again
            self._known.clear()
            for command, reply in zip(dropped, await self._replies(dropped), strict=True):
                self._answer(command, reply)

    async def _replies(self, sent: list[_Command]) -> list[Any]:
        """Return the replies, errors among them as they came."""
        errors = self._errors
        replies: list[Any] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = self._connection or await self._connected()
                packed = b"".join([self._packed(command) for command in sent])
                await connection.send_packed_command(packed, check_health=False)
                self._writes += 1
                self._commands += len(sent)
                for _ in sent:
                    try:
                        replies.append(await connection.read_response(disconnect_on_error=False))
                    except errors.ResponseError as error:
                        replies.append(error)
        except ConfigError:
            await self._disconnect()
            raise
        except (errors.AuthenticationError, errors.AuthorizationError) as error:
            await self._disconnect()
            raise ConfigError(
                f"Redis at {self.address} refuses the user or the password in its URL: "
                f"{self._clean(error)}"
            ) from None
        except (errors.RedisError, OSError, TimeoutError) as error:
            await self._disconnect()
            raise self._lost(self._clean(error)) from None
        except BaseException:
            await self._disconnect()
            raise
        return replies

    def _packed(self, command: _Command) -> bytes:
        """Return a command as it is sent: a script whole the first time, then by its digest."""
        script = command.script
        if script is None:
            return self._pack(command.arguments)
        if script.digest in self._known:
            return self._pack(("EVALSHA", script.digest, *command.arguments))
        self._known.add(script.digest)
        return self._pack(("EVAL", script.text, *command.arguments))

    async def _connected(self) -> "Connection":
        """Return a new connection to a server that can be used.

        Raises:
            ConfigError: when the server is too old or a cluster.
        """
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - heavy, and an extra

        pool = ConnectionPool.from_url(
            self._url, protocol=2, socket_timeout=None, socket_connect_timeout=None
        )
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        self._connection = connection
        self._connects += 1
        await connection.send_command("INFO")
        try:
            text = (await connection.read_response(disconnect_on_error=False)).decode()
        except self._errors.ResponseError as error:
            raise ConfigError(
                f"Redis at {self.address} does not give its version: {self._clean(error)}. Allow "
                "the user of its URL the command INFO, all scripts, and the keys callwise:*"
            ) from None
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        version = facts.get("redis_version", "unknown")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or tuple(map(int, numbers.groups())) < MIN_VERSION:
            raise ConfigError(
                f"Redis at {self.address} is version {version}. Use a server of 6.2 or later"
            )
        if facts.get("redis_mode") == "cluster":
            raise ConfigError(
                f"Redis at {self.address} is a cluster, whose keys are on several servers. Use a "
                "single server, with replicas if needed"
            )
        self._warn_of_dropped_keys(facts)
        return connection

    def _warn_of_dropped_keys(self, facts: Mapping[str, str]) -> None:
        """Write to the log that the server may drop what is counted, where it may."""
        policy = facts.get("maxmemory_policy", "").strip()
        if policy.startswith("allkeys") and facts.get("maxmemory", "0").strip() != "0":
            _LOGGER.warning(
                "Redis at %s drops any key once its memory is full (maxmemory-policy %s), also "
                "what shared limits have counted. Set noeviction or volatile-lru",
                self.address,
                policy,
            )

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._known.clear()
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except (self._errors.RedisError, OSError):  # it is given up either way
                return

    def _answer(self, command: _Command, reply: Any) -> None:
        if isinstance(reply, Exception):
            _fail(command, self._error_of(command, reply))
        elif not command.reply.done():
            command.reply.set_result(reply)

    def _error_of(self, command: _Command, error: Exception) -> Exception:
        text = self._clean(error)
        if isinstance(error, self._errors.NoScriptError):
            return self._lost("its scripts are flushed again and again")
        found = _CODE.search(text)
        code = found[1] if found else type(error).__name__
        remedy = _REMEDIES.get(code)
        if remedy is not None:
            return BudgetStoreLost(f"Redis at {self.address} cannot serve now ({text}). {remedy}")
        first = command.arguments
        keys = first[1 : 1 + first[0]] if command.script is not None else first[:2]
        return ConfigError(
            f"Redis at {self.address} refuses a command for {' '.join(map(str, keys))}: {text}"
        )

    def _lost(self, reason: str) -> BudgetStoreLost:
        return BudgetStoreLost(
            f"Redis at {self.address} cannot be reached ({reason}). Start it, or correct "
            "the URL in the environment variable that has it"
        )

    def _clean(self, error: BaseException) -> str:
        text = str(error) or f"no answer within {self._timeout_seconds:g} s"
        password = urlsplit(self._url).password
        return redact(text, password, password and unquote(password))


def link_from_env(variable: str, *, timeout_seconds: float) -> RedisLink:
    """Return a link to the server whose URL is in an environment variable.

    Raises:
        ConfigError: when it is not set, or no URL of a Redis server.
    """
    url = os.environ.get(variable, "").strip()
    if not url:
        raise ConfigError(
            f"load.fleet shares through Redis, and the environment variable {variable} is not "
            "set. Set it to the server's URL, such as redis://localhost:6379/0"
        )
    return RedisLink(url, timeout_seconds=timeout_seconds)


def _address(url: str) -> str:
    """Return host, port and database of a URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme == "unix" and parts.path:
        return parts.path
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ConfigError(
            "the URL of the Redis server is not one. Write redis://host:port/database, or "
            "rediss:// for TLS, or unix:///path"
        )
    return f"{parts.hostname}:{port}{parts.path if parts.path != '/' else ''}"


def _redis_parts() -> tuple[Any, Callable[[tuple[Any, ...]], bytes]]:
    """Return the module of redis's errors, and the function that packs a command.

    Raises:
        ConfigError: when the package is not installed.
    """
    try:
        from hiredis import pack_command  # noqa: PLC0415 - an extra
        from redis import exceptions  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            f"load.fleet needs the packages redis and hiredis: {install_hint('redis')}"
        ) from None
    return exceptions, pack_command


def _fail(command: _Command, error: Exception) -> None:
    """End a command by an error, which is not reported where no one waits for it."""
    if not command.reply.done():
        command.reply.set_exception(error)
        command.reply.exception()
