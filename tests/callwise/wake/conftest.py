"""A store of awake agents for each test."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callwise.wake import WakeStore
from tests.callwise.wake.postgres_server import USER, PostgresServer, program

ODD_NAMES = (
    "../../etc/passwd",
    "a'b\"; DROP TABLE outbox; --",
    "two\nlines\r",
    "nul\x00nul",
    "值😀",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a store's file."""
    return tmp_path / "wake.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[WakeStore]:
    """Return an open, empty store."""
    with WakeStore(path) as opened:
        yield opened


@pytest.fixture(params=ODD_NAMES, ids=ascii)
def odd_name(request: pytest.FixtureRequest) -> str:
    """Return a name that is a path, SQL, several lines, or not ASCII."""
    return str(request.param)


@pytest.fixture(params=["", "x" * 1001, "half \ud83d"], ids=ascii)
def bad_name(request: pytest.FixtureRequest) -> str:
    """Return a name that no store takes."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Return a server that tests share; each uses another namespace."""
    if program("initdb") is None:
        pytest.skip("no Postgres is installed")
    if os.getuid() == 0 and USER not in {each.pw_name for each in pwd.getpwall()}:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    try:
        server = PostgresServer()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Postgres cannot be started here: {error}")
    yield server
    server.stop()
    server.remove()
