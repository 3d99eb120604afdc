"""Origin of a call in a LangGraph program: its node, with the sub-graphs and tools around it.

LangGraph writes its path of tasks into the metadata of every run, as
`tools:<task id>|model:<task id>`. That names nodes, and not the tools and graphs that a node
calls: two sub-agents that are tools of one `ToolNode` have equal paths. Their names are known
to callback handlers only, so one handler keeps the name of each run while it lasts, and an
origin is read off the chain of runs around a call. Where a run is not known to the handler,
LangGraph's own path is still complete.

Task ids are random and enter nothing. What is kept of a task is which of several equal ones
it is (`Send` number, tool call, number of the sub-graph call) and its step.
"""

import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook

from callwise.calls.call import Origin

__all__ = ["origin_here", "origin_of", "watch_runs"]

_MAX_RUNS = 16_384
"""Runs that are kept in memory; a run that never reports its end is forgotten in time."""
_DEFAULT_GRAPH_NAME = "LangGraph"
_RESERVED = frozenset("/%#")


class _Run(NamedTuple):
    parent: UUID | None
    name: str
    tool_call: str | None
    """Id of the tool call that a tool runs for, empty where it has none; None for no tool."""
    metadata: Mapping[str, Any]


class _RunNames(BaseCallbackHandler):
    run_inline = True
    ignore_llm = True
    ignore_chat_model = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self) -> None:
        self._runs: dict[UUID, _Run] = {}

    def get(self, run: UUID | None) -> _Run | None:
        """Return a run, or None where it is not known."""
        return None if run is None else self._runs.get(run)

    def on_chain_start(
        self,
        serialized: Any,  # noqa: ARG002 - LangChain's
        inputs: Any,  # noqa: ARG002 - LangChain's
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember a chain, which a graph and a node are too."""
        self._add(run_id, _Run(parent_run_id, str(kwargs.get("name") or ""), None, metadata or {}))

    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,  # noqa: ARG002 - LangChain's
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember a tool."""
        name = (serialized or {}).get("name") or kwargs.get("name") or ""
        tool_call = str(kwargs.get("tool_call_id") or "")
        self._add(run_id, _Run(parent_run_id, str(name), tool_call, metadata or {}))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Forget a run that has ended."""
        self._runs.pop(run_id, None)

    on_chain_error = on_tool_end = on_tool_error = on_chain_end  # type: ignore[assignment]

    def _add(self, run_id: UUID, run: _Run) -> None:
        while len(self._runs) >= _MAX_RUNS:
            self._runs.pop(next(iter(self._runs), run_id), None)
        self._runs[run_id] = run


_NAMES = _RunNames()
_HANDLER: ContextVar[BaseCallbackHandler | None] = ContextVar("callwise_runs", default=_NAMES)
_registering = threading.Lock()
_registered: list[bool] = []


def watch_runs() -> None:
    """Let LangChain report the runs of this process from now on. Safe to call again."""
    with _registering:
        if not _registered:
            _registered.append(True)
            register_configure_hook(_HANDLER, inheritable=True)


@dataclass(slots=True)
class _Level:
    """One task of a graph: what runs between it and the next graph inside.

    Args:
        path: LangGraph's path of tasks, from the outermost graph to this task.
        tools: tools that run in the task, the outermost first: name and id of the tool call.
    """

    path: Sequence[str]
    metadata: Mapping[str, Any]
    tools: list[tuple[str, str]] = field(default_factory=list)
    graph: str = ""


def origin_here() -> Origin:
    """Return the origin of what is asked here and now; an empty one outside of a node."""
    config = var_child_runnable_config.get() or {}
    parent = getattr(config.get("callbacks"), "parent_run_id", None)
    return _origin(config.get("metadata") or {}, parent)


def origin_of(run_manager: Any) -> Origin:
    """Return the origin of a model's run."""
    metadata = getattr(run_manager, "metadata", None) or {}
    if "langgraph_node" not in metadata:
        return origin_here()
    return _origin(metadata, getattr(run_manager, "parent_run_id", None))


def _origin(metadata: Mapping[str, Any], parent: UUID | None) -> Origin:
    levels = [level for level in _levels(metadata, parent) if level.path]
    names: list[str] = []
    steps: list[str] = []
    tasks: list[str] = []
    outer: _Level | None = None
    for level in levels:
        inner = level.path if outer is None else _inside(level.path, outer.path)
        numbers = [part for part in inner if part.isdigit()]
        names += [_escaped(part.partition(":")[0]) for part in inner if not part.isdigit()]
        names += [_escaped(name) for name, _ in level.tools]
        if level.graph and (graph := _escaped(level.graph)) != names[-1]:
            names.append(graph)
        index = _index(level.metadata.get("langgraph_path"))
        step = str(level.metadata.get("langgraph_step") or 0)
        steps.append(step if index is None else f"{step}.{index}")
        # Tools of one task run in threads: in which order they call graphs is chance.
        is_ordered = outer is None or not outer.tools
        mark = ".".join(numbers if is_ordered else [])
        mark += "" if index is None else f"s{index}"
        mark += "".join(f"t{tool_call}" for _, tool_call in level.tools if tool_call)
        tasks.append(mark)
        outer = level
    return Origin("/".join(names), "-".join(tasks) if any(tasks) else "", "-".join(steps))


def _levels(metadata: Mapping[str, Any], run_id: UUID | None) -> list[_Level]:
    levels = [_Level(_path(metadata), metadata)]
    while (run := _NAMES.get(run_id)) is not None:
        if (path := _path(run.metadata)) != levels[0].path:
            graph = run.name if run.name != _DEFAULT_GRAPH_NAME else ""
            levels.insert(0, _Level(path, run.metadata, graph=graph))
        if run.tool_call is not None:
            levels[0].tools.insert(0, (run.name, run.tool_call))
        run_id = run.parent
    return levels


def _path(metadata: Mapping[str, Any]) -> list[str]:
    path = metadata.get("langgraph_checkpoint_ns") or metadata.get("langgraph_node")
    return path.split("|") if isinstance(path, str) and path else []


def _inside(path: Sequence[str], outer: Sequence[str]) -> Sequence[str]:
    """Return the part of a path behind an outer one; all of it where it does not go on from it.

    A sub-graph with its own memory has the tasks around it without their ids.
    """
    pairs = list(zip(path, outer, strict=False))
    is_same = all(part in {around, around.partition(":")[0]} for part, around in pairs)
    return path[len(outer) :] if len(path) > len(outer) and is_same else path


def _index(path: Any) -> int | None:
    """Return which of the tasks that were sent to one node a task is; None for its own task."""
    if not isinstance(path, Sequence) or not path or path[0] != "__pregel_push":
        return None
    return next((part for part in path[1:3] if type(part) is int), None)


def _escaped(name: str) -> str:
    """Return a name without what separates names, as `%2F`, and without control characters."""
    return "".join(
        f"%{ord(char):02X}" if char in _RESERVED or not char.isprintable() else char
        for char in name
    )
