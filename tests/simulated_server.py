"""A simulated server next to a test that runs commands, which bring a loop of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer

__all__ = ["serving"]


@contextmanager
def serving(faults: list[str], **fields: Any) -> Iterator[SimServer]:
    """Run a simulated server in a thread."""
    loop = asyncio.new_event_loop()
    server = SimServer(SimulatedSettings(**fields), faults=faults)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(timeout=120)
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=120)
        loop.close()
