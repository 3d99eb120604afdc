"""Importing the budgeter loads nothing heavy."""

import subprocess
import sys

HEAVY = ("openai", "langchain_core", "langgraph", "diskcache", "tiktoken", "numpy", "aiohttp")


def test_importing_the_budgeter_loads_nothing_heavy():
    """Importing the budgeter loads no provider, no graph, no disk cache and no token tables."""
    code = f"import sys, callwise.budget; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_exported_name_exists():
    """Every name of `__all__` is there."""
    from callwise import budget

    assert [name for name in budget.__all__ if not hasattr(budget, name)] == []
