"""Where labels stand beside their points: none over another, none over a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "free_places"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows upwards. In any one unit, such as pixels."""

    left: float
    bottom: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether some of its inside is inside the other."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.bottom < other.bottom + other.height
            and other.bottom < self.bottom + self.height
        )

    def lies_in(self, frame: "Box") -> bool:
        """Whether no part of it is outside a frame."""
        return (
            self.left >= frame.left
            and self.bottom >= frame.bottom
            and self.left + self.width <= frame.left + frame.width
            and self.bottom + self.height <= frame.bottom + frame.height
        )


def free_places(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    avoided: Sequence[Box],
    frame: Box,
    *,
    gap: float,
) -> list[Box | None]:
    """Return where each label stands; None for one that finds no room.

    The first come first, so the most important stand in front. Above and to the left is
    tried first: left above a Pareto front there is nothing.

    Args:
        anchors: the points that labels belong to.
        sizes: width and height of each label.
        taken: what no label may cover.
        avoided: what labels cover only where there is no better place.
        frame: what no label may leave.
        gap: between a point and its label.
    """
    occupied = list(taken)
    placed: list[Box | None] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        tries = _tries(x, y, width, height, gap)
        free = [box for box in tries if box.lies_in(frame)]
        free = [box for box in free if not any(map(box.overlaps, occupied))]
        box = min(free, key=lambda box: sum(map(box.overlaps, avoided)), default=None)
        if box is not None:
            occupied.append(box)
        placed.append(box)
    return placed


def _tries(x: float, y: float, width: float, height: float, gap: float) -> Iterator[Box]:
    for far in (gap, 2.5 * gap):
        for across, up in (
            (-far - width, far),
            (far, -far - height),
            (far, far),
            (-far - width, -far - height),
            (-width / 2, 2 * far),
            (-width / 2, -2 * far - height),
        ):
            yield Box(x + across, y + up, width, height)
