"""Hues of nodes: the same for a node on the report page and in every figure.

The eight hues are those of Okabe and Ito, distinct for the colour-blind, with slate instead of
black, which is for text.
"""

import hashlib
from collections.abc import Sequence

__all__ = ["NODE_HUES", "SLATE", "hue_places"]

SLATE = "#5b6570"

NODE_HUES = (
    "#009E73", "#56B4E9", "#CC79A7", "#D55E00", SLATE, "#E69F00", "#F0E442", "#0072B2",
)  # fmt: skip

_SALT = 303
"""Chosen so that the nodes of the shipped pipeline fall on eight different hues."""


def _own_place(node: str) -> int:
    data = f"{_SALT}/{node}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") % len(NODE_HUES)


def hue_places(names: Sequence[str]) -> dict[str, int]:
    """Return a place in `NODE_HUES` each for as many names, their own wherever it is free."""
    places: dict[str, int] = {}
    for name in names:
        if _own_place(name) not in places.values():
            places[name] = _own_place(name)
    free = [place for place in range(len(NODE_HUES)) if place not in places.values()]
    displaced = (name for name in names if name not in places)
    return places | dict(zip(displaced, free, strict=False))
