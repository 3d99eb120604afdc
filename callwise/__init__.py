"""Callwise: the engine that counts, caps, records and replays every LLM call.

This package knows nothing of the reply pipeline beside it: any LangGraph or
LangChain program can use it. Import from the rooms (`callwise.calls`,
`callwise.budget`, `callwise.recordings`, ...); nothing heavy is imported here.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
