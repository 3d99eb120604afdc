"""The door is light: nothing heavy is loaded by opening it."""

import subprocess
import sys

HEAVY = ("openai", "langchain_core", "langgraph", "diskcache", "tiktoken", "numpy", "aiohttp")


def test_the_door_loads_nothing_heavy():
    """Importing the budgeter loads no provider, no graph, no disk cache and no token tables."""
    code = f"import sys, callwise.budget; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_door_exports_what_it_says():
    """Every name of `__all__` is there."""
    import callwise.budget as door

    assert [name for name in door.__all__ if not hasattr(door, name)] == []
