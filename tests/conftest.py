"""Isolation of every test: no network but loopback, no settings and no clock from outside."""

import asyncio
import builtins
import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

KEPT_VARIABLES = frozenset({"CALLWISE_DATA"})
"""The folder of the recorded data is no setting of Callwise."""

FOREIGN_PREFIXES = ("CALLWISE_", "LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_", "OPENAI_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


_EXAMPLES = {"quick": 20, "full": 200}
"""Examples of each property test by profile: `make test` runs quick, `make test-slow` full."""

for _name, _count in _EXAMPLES.items():
    settings.register_profile(
        _name,
        settings(),
        max_examples=_count,
        deadline=None,  # how fast a machine runs an example is no property of the code
        derandomize="CALLWISE_SAME_EXAMPLES" in os.environ,  # what lands is drawn once
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
settings.load_profile("quick")


SHARED_MEMORY = "/dev/shm"  # noqa: S108 - pytest makes a folder of its own in it
MIN_FREE_BYTES = 2**30


def _can_keep_files(folder: str) -> bool:
    """Return whether the files of all tests fit into a folder of this machine's memory."""
    try:
        return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= MIN_FREE_BYTES
    except OSError:
        return False


# Most tests commit to SQLite files: on a disk, each commit and each close would wait for it.
if _can_keep_files(SHARED_MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", SHARED_MEMORY)


class NetworkForbidden(RuntimeError):
    """A test wanted to reach another machine."""


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test, also where the suite runs in the background.

    A shell starts background jobs with SIGINT ignored, and their children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of the searches for garbage, and search less.

    It lives as long as the process, and each full search would go through it again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in {"", "localhost", "localhost.localdomain"}:
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _refuse(target: object) -> None:
    raise NetworkForbidden(f"a test wanted to reach {target!r}; only loopback is allowed")


@pytest.fixture(scope="session", autouse=True)
def _network_wall() -> Iterator[None]:
    """Let sockets connect to this machine only, and look up no other name."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family != socket.AF_UNIX and not _is_loopback(address[0]):
            _refuse(address)

    def walled_connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        connect(sock, address)

    def walled_connect_ex(sock: socket.socket, address: Any) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    def walled_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_loopback(host):
            _refuse(host)
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", walled_connect)
        patch.setattr(socket.socket, "connect_ex", walled_connect_ex)
        patch.setattr(socket, "getaddrinfo", walled_getaddrinfo)
        yield


# jsonschema, which altair imports, would compile 38 grammars of a format that no schema here uses.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

PRODUCT_PACKAGES = ("callwise", "graph", "nodes", "lats")


@pytest.fixture(scope="session", autouse=True)
def _no_float_sums() -> Iterator[None]:
    """Let the product add up no floats with `sum`: from Python 3.12 on it rounds otherwise."""
    plain_sum = builtins.sum

    def checked_sum(*args: Any, **kwargs: Any) -> Any:
        total = plain_sum(*args, **kwargs)
        if type(total) is float:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.partition(".")[0] in PRODUCT_PACKAGES:
                raise AssertionError(f"{caller} adds up floats with sum(); use math.fsum")
        return total

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "sum", checked_sum)
        yield


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Take out what the machine's owner has set: endpoints, keys, traces, proxies."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            is_foreign = name.upper().startswith(FOREIGN_PREFIXES) and name not in KEPT_VARIABLES
            if is_foreign or name.lower() in PROXIES:
                patch.delenv(name)
        yield


@pytest.fixture
def pass_time() -> Callable[[float], Awaitable[None]]:
    """Return a function that sets the running loop's clock forward, so that timers are due."""

    async def forward(seconds: float) -> None:
        loop: Any = asyncio.get_running_loop()
        before = loop.time
        loop.time = lambda: before() + seconds
        for _ in range(5):
            await asyncio.sleep(0)

    return forward
