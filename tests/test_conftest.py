"""The wall itself."""

import asyncio
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.conftest import SHARED_MEMORY, _can_keep_files


def test_another_machine_is_out_of_reach() -> None:
    """A connection to an address that is not loopback is refused before it is tried."""
    with socket.socket() as sock, pytest.raises(RuntimeError, match="only loopback"):
        sock.connect(("192.0.2.1", 80))
    with socket.socket() as sock, pytest.raises(RuntimeError, match="only loopback"):
        sock.connect_ex(("192.0.2.1", 80))


def test_another_name_is_not_looked_up() -> None:
    """Not even a name server hears of a host that a test names."""
    with pytest.raises(RuntimeError, match="only loopback"):
        socket.getaddrinfo("example.invalid", 80)


def test_this_machine_is_within_reach() -> None:
    """A server on loopback can be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())


def test_no_setting_leaks_in() -> None:
    """No variable of Callwise is set but the place of the recorded data."""
    assert {name for name in os.environ if name.startswith("CALLWISE_")} <= {"CALLWISE_DATA"}


def test_no_property_test_has_a_deadline() -> None:
    """A busy machine makes an example slowly, and no test sets a deadline itself."""
    profile = settings()
    assert profile.deadline is None
    assert HealthCheck.too_slow in profile.suppress_health_check
    own = re.compile(r"deadline=(?!None)|suppress_health_check=(?!list\(HealthCheck\))")
    folder = Path(__file__).parent
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("test_*.py")
        if "hypothesis" in (text := path.read_text(encoding="utf-8")) and own.search(text)
    ]
    assert found == ["test_conftest.py"]


@pytest.mark.skipif(
    not _can_keep_files(SHARED_MEMORY), reason="no gigabyte of this machine's memory for files"
)
def test_files_of_tests_are_in_memory(tmp_path: Path) -> None:
    """A commit to a test's database waits for no disk, wherever the machine allows that."""
    root = Path(os.environ["PYTEST_DEBUG_TEMPROOT"])
    assert tmp_path.is_relative_to(root)


async def test_time_passes_when_a_test_says_so(pass_time) -> None:
    """A timer of an hour is due at once, and without anyone waiting."""
    asleep = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    await pass_time(3601)
    assert asleep.done()
