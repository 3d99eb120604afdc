"""The order of the fifteen nodes, serial or overlapped, and as fused calls need it.

One table says who waits for whom. The wiring makes its edges from it, the call
budgeter its rounds, and the docs their picture.

Fused calls move two nodes. A call that replies has to see the memories, so
retrieval comes before detection. A call that keeps all the books leaves the memory
manager its part, so the memory manager waits for the evolver where they would else run
side by side. Where a turn may be wound down to such calls, both stand ready for it in
every turn: the graph is compiled once.
"""

from collections.abc import Mapping
from types import MappingProxyType

from graph.settings import FuseKnobs
from graph.steps import STEPS

__all__ = ["NODES", "predecessors"]

_AS_IT_IS = FuseKnobs()

NODES: tuple[str, ...] = tuple(STEPS)
"""All nodes in the order in which they run when nothing overlaps or is fused."""

_OVERLAPPED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Retrieval needs the user's words only, so it runs beside detection.
        "memory_retriever": ("loader",),
        "style": ("reasoner",),
        "lats_search": ("style", "memory_retriever"),
        # Both read the finished turn and neither reads the other.
        "memory_manager": ("final_validator",),
        "memory_writer": ("stage_manager", "memory_manager"),
    }
)


def _nodes(fuse: FuseKnobs) -> tuple[str, ...]:
    """Return all nodes in an order in which they can run one by one."""
    if not (fuse.reply or fuse.wind_down):
        return NODES
    others = [name for name in NODES if name != "memory_retriever"]
    others.insert(others.index("detection"), "memory_retriever")
    return tuple(others)


def predecessors(*, overlap: bool, fuse: FuseKnobs = _AS_IT_IS) -> dict[str, tuple[str, ...]]:
    """Return for each node the nodes that it waits for; none for the first.

    The nodes stand in an order in which they can run one by one.

    Args:
        overlap: whether nodes run side by side where the data allow.
        fuse: which nodes ask together, or may have to.
    """
    nodes = _nodes(fuse)
    serial = dict(zip(nodes[1:], ((name,) for name in nodes), strict=False))
    waits = {nodes[0]: (), **serial}
    if not overlap:
        return waits
    waits |= _OVERLAPPED
    if nodes.index("memory_retriever") < nodes.index("detection"):
        waits["lats_search"] = ("style",)
    if fuse.bookkeeping or fuse.wind_down:
        waits["memory_manager"] = ("evolver",)
    return waits
