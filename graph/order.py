"""The order of the fifteen nodes, once serial and once overlapped.

One table says who waits for whom. The wiring makes its edges from it, the call
budgeter its rounds, and the docs their picture.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["NODES", "predecessors"]

NODES: tuple[str, ...] = (
    "loader",
    "detection",
    "mode_manager",
    "inner_monologue",
    "emotion_update",
    "reasoner",
    "memory_retriever",
    "style",
    "lats_search",
    "processor",
    "final_validator",
    "evolver",
    "stage_manager",
    "memory_manager",
    "memory_writer",
)
"""All nodes in the order in which they run when nothing overlaps."""

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


def predecessors(*, overlap: bool) -> dict[str, tuple[str, ...]]:
    """Return for each node the nodes that it waits for; none for the first.

    Args:
        overlap: whether nodes run side by side where the data allow.
    """
    serial = dict(zip(NODES[1:], ((name,) for name in NODES), strict=False))
    waits = {NODES[0]: (), **serial}
    return {**waits, **_OVERLAPPED} if overlap else waits
