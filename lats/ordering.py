"""In which order a judge reads candidates: seeded, and each order followed by its reverse.

Judges favour places (arXiv 2406.07791). Over a pair of passes, one in an order and one in
its reverse, every candidate stands at the same mean place; over several pairs the orders
are drawn anew.
"""

import hashlib
from collections.abc import Sequence

from lats.tree import NodeId

__all__ = ["reading_order"]


def reading_order(node_ids: Sequence[NodeId], *, seed: int, look: int) -> tuple[NodeId, ...]:
    """Return candidates in the order in which a judge call reads them.

    Args:
        node_ids: the candidates.
        seed: of the search.
        look: which judge call of the search it is, from 0. An odd one reverses the order of
            the even one before it, for candidates that both read.
    """
    pair_of_looks = f"{seed}/{look // 2}/"

    def lot(node_id: NodeId) -> bytes:
        return hashlib.blake2b((pair_of_looks + node_id).encode(), digest_size=8).digest()

    return tuple(sorted(node_ids, key=lot, reverse=look % 2 == 1))
