"""Numbers and booleans for the fields of an answer."""

import math

from turnwise.calls.simulated.conventions import Convention
from turnwise.calls.simulated.scene import Place, Scene
from turnwise.calls.simulated.schema import Node
from turnwise.calls.simulated.score_odds import with_levels

__all__ = ["boolean_value", "fitted_number", "number_value"]

_SMALL_SHARE = 0.12
"""SD of a small signed value, as a share of half its range."""

_DRIFT_SHARE = 0.06
"""SD by which a value that the material already has moves, as a share of its range."""

_LOW_SHARE = 0.12
"""SD of what is usually low, as a share of its range."""

_USUALLY_LOW = frozenset({Convention.LOW, Convention.RISK, Convention.ASSISTANTNESS})

_ASSISTANT_THRESHOLD = 0.35


def _bounds(node: Node, kind: Convention) -> tuple[float, float]:
    """Return the least and greatest value to write; what is not bounded is guessed."""
    low, high = node.minimum, node.maximum
    width = 9.0 if node.kind == "integer" else 1.0
    if kind is Convention.SECONDS:
        width = 3.0
    if low is None and high is None:
        if kind is Convention.SIGNED:
            return -width, width
        return (0.3, 3.0) if kind is Convention.SECONDS and node.kind == "number" else (0.0, width)
    if low is None:
        assert high is not None  # noqa: S101 - narrowed above
        return (0.0 if high > 0 else high - width), high
    if high is None:
        return low, low + width
    return low, high


def _fitted(value: float, node: Node, low: float, high: float) -> float | int:
    """Return the value as the node allows it: in range, rounded, a multiple."""
    if node.multiple_of:
        step = node.multiple_of
        first = math.ceil(low / step - 1e-9) + (
            node.is_open_low and math.isclose(math.ceil(low / step) * step, low)
        )
        last = math.floor(high / step + 1e-9) - (
            node.is_open_high and math.isclose(math.floor(high / step) * step, high)
        )
        count = min(max(round(value / step), first), last)
        whole = node.kind == "integer" or float(step).is_integer()
        return int(count * step) if whole else round(count * step, 10)
    if node.kind == "integer":
        least = math.floor(low) + 1 if node.is_open_low else math.ceil(low)
        most = math.ceil(high) - 1 if node.is_open_high else math.floor(high)
        return min(max(round(value), least), most)
    digits = 2 if high - low >= 0.2 else 2 + math.ceil(-math.log10(max(high - low, 1e-9)))
    rounded = min(max(round(value, digits), low), high)
    if (node.is_open_low and rounded <= low) or (node.is_open_high and rounded >= high):
        margin = (high - low) * 0.01
        rounded = min(max(value, low + margin), high - margin)
    return rounded


def fitted_number(value: float, node: Node) -> float | int:
    """Return the number nearest to a value that the node's own bounds allow."""
    low = min(value, 0) if node.minimum is None else node.minimum
    high = max(value, low + 1) if node.maximum is None else node.maximum
    return _fitted(value, node, min(low, high), high)


def _score(scene: Scene, kind: Convention, name: str, place: Place) -> float | None:
    """Return a judge's reading as a share of the range, or None when nothing is judged."""
    if kind not in {Convention.SCORE, Convention.ASSISTANTNESS, Convention.RISK}:
        return None
    look = scene.subject_look(place)
    if look is None:
        return None
    if kind is Convention.ASSISTANTNESS:
        return look.assistantness()
    if kind is Convention.RISK:
        return _risk(look.share(name))
    return look.share(name)


def _risk(share: float) -> float:
    return round((1.0 - share) / 2, 3)


def _levels(scene: Scene, kind: Convention, name: str, place: Place) -> list[tuple[float, float]]:
    """Return the scores that might stand at a place, as shares, and their distances.

    None for assistant-likeness: it is read off the text, and not rounded to steps.
    """
    look = scene.subject_look(place)
    if look is None or kind is Convention.ASSISTANTNESS:
        return []
    levels = look.levels(name)
    if kind is Convention.RISK:
        return [(_risk(share), distance) for share, distance in levels]
    return levels


def number_value(
    scene: Scene, kind: Convention, name: str, node: Node, place: Place
) -> float | int:
    """Return the number of a field.

    In order: a rank, a judge's reading, a value near the one that the material has
    under the same name, something usually low, a small signed value, a value near the
    middle.

    Args:
        scene: the answer.
        kind: what the field's name means.
        name: the field's name.
        node: an integer or number node.
        place: where it stands.
    """
    low, high = _bounds(node, kind)
    draws = scene.draws
    if kind is Convention.RANK and place.item is not None:
        return fitted_number(1 + scene.ranked().index(place.item), node)
    share = _score(scene, kind, name, place)
    if share is not None:
        written = _fitted(low + share * (high - low), node, low, high)
        if not scene.keeps_levels:
            return written
        return with_levels(
            written,
            [
                (_fitted(low + each * (high - low), node, low, high), distance)
                for each, distance in _levels(scene, kind, name, place)
            ],
        )
    current = scene.current(name)
    if (
        isinstance(current, int | float)
        and not isinstance(current, bool)
        and low <= current <= high
    ):
        return _fitted(current + _DRIFT_SHARE * (high - low) * draws.normal(), node, low, high)
    if kind in _USUALLY_LOW:
        return _fitted(low + _LOW_SHARE * (high - low) * abs(draws.normal()), node, low, high)
    if low < 0.0 < high:
        return _fitted(_SMALL_SHARE * min(-low, high) * draws.normal(), node, low, high)
    middle = (draws.unit() + draws.unit()) / 2
    return _fitted(low + (high - low) * middle, node, low, high)


def boolean_value(scene: Scene, kind: Convention, place: Place) -> bool:
    """Return the truth of a field: a reading for assistant-likeness, else a draw."""
    if kind is Convention.ASSISTANTNESS:
        look = scene.subject_look(place)
        if look is not None:
            return look.assistantness() >= _ASSISTANT_THRESHOLD
    return scene.draws.chance(scene.settings.boolean_true_rate)
