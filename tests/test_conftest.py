"""The wall itself."""

import os
import socket

import pytest


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
    """No variable of Turnwise is set but the place of the recorded data."""
    assert {name for name in os.environ if name.startswith("TURNWISE_")} <= {"TURNWISE_DATA"}
