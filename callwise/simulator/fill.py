"""Filling a compiled schema with valid content, by the conventions on names."""

from dataclasses import replace
from typing import Any

import orjson

from callwise.simulator.field_values import (
    boolean_value,
    fitted_number,
    matching_text,
    number_value,
    pick_strategy,
    proved_text,
    string_value,
)
from callwise.simulator.forms import (
    MAX_DEPTH,
    NEVER_EMPTY,
    REPLY_KINDS,
    Convention,
    FormNode,
    SchemaRefused,
    convention_of,
)
from callwise.simulator.phrases import bank_of
from callwise.simulator.scene import FieldPlace, ReplyHolder, Scene, sentences_of

__all__ = ["fill"]

FLAT_DEPTH = 5
"""Below this depth arrays are as short and objects as empty as they may be."""

_KEEP_RATE = 0.75
"""Share of enum fields that keep the value which the material has under their name. The others
take the next or the previous value, as closed sets are often steps of something."""

_DEFAULT_CANDIDATES = 2
_MAX_TRIES = 24
_SCORE_KINDS = frozenset({Convention.SCORE, Convention.ASSISTANTNESS, Convention.RISK})
_PER_CANDIDATE = frozenset({Convention.VERDICTS, Convention.RANKING})


def fill(scene: Scene, node: FormNode) -> Any:
    """Return content that fits the schema, as JSON values."""
    return _value(scene, node, "", FieldPlace())


def _single(node: FormNode) -> FormNode:
    """Return the node behind unions of one option, which may not refer to each other."""
    for _ in range(MAX_DEPTH):
        if node.kind != "union" or len(node.options) != 1:
            return node
        node = node.options[0]
    raise SchemaRefused("the schema is a union of nothing but itself")


def _value(scene: Scene, node: FormNode, name: str, place: FieldPlace) -> Any:
    """Return the value of a place, by the convention on its name."""
    with scene.allowance:
        return _value_of(scene, _single(node), name, place)


def _value_of(scene: Scene, node: FormNode, name: str, place: FieldPlace) -> Any:
    kind = convention_of(name)
    match node.kind:
        case "object":
            return _object(scene, node, name, place)
        case "array":
            return _array(scene, node, name, place)
        case "string":
            return string_value(scene, kind, node, place)
        case "integer" | "number":
            return number_value(scene, kind, name, node, place)
        case "boolean":
            return boolean_value(scene, kind, place)
        case "enum":
            return _enum(scene, node, kind, name)
        case "union":
            return _value(scene, _option(scene, node, place), name, place)
        case "null":
            return None
        case _:
            return string_value(scene, kind, FormNode(kind="string"), place)


def _option(scene: Scene, node: FormNode, place: FieldPlace) -> FormNode:
    """Return one option of a union: no pattern where it can be avoided, flat when deep."""
    options = [option for option in node.options if _single(option).pattern is None]
    options = options or node.options
    if place.depth >= FLAT_DEPTH:
        return min(options, key=lambda option: _single(option).kind in {"object", "array"})
    return scene.draws.pick(options)


def _enum(scene: Scene, node: FormNode, kind: Convention, name: str) -> Any:
    values = node.values
    if len(values) == 1:
        return values[0]
    if kind is Convention.STRATEGY and all(isinstance(value, str) for value in values):
        return pick_strategy(scene, values)
    if kind is Convention.LANGUAGE and scene.language in values:
        return scene.language
    if kind is Convention.BEST and scene.material.candidates:
        ids = [scene.material.candidates[index].id for index in scene.ranked()]
        if (best := next((each for each in ids if each in values), None)) is not None:
            return best
    if kind is Convention.SIGNALS:
        signals = bank_of("en").signals[scene.message.kind]
        values = [value for value in values if value in signals] or values
    current = scene.current(name)
    if isinstance(current, str | int) and current in values:
        place = values.index(current)
        if not scene.draws.chance(_KEEP_RATE):
            place += 1 if scene.draws.chance(0.5) else -1
        return values[min(max(place, 0), len(values) - 1)]
    return scene.draws.pick(values)


def _is_left_empty(scene: Scene, node: FormNode, name: str, *, required: bool, depth: int) -> bool:
    kind = convention_of(name)
    if (required and not node.nullable) or kind in NEVER_EMPTY:
        return False
    child = _single(node)
    if child.has_reply:
        return False  # a reply in another form, such as bubbles with their delays
    if depth >= FLAT_DEPTH and child.kind in {"object", "array", "union"}:
        return True
    settings = scene.settings
    is_score = kind in _SCORE_KINDS
    return scene.draws.chance(settings.missing_score_rate if is_score else settings.null_rate)


def _object(scene: Scene, node: FormNode, name: str, place: FieldPlace) -> dict[str, Any]:
    if place.is_reply_place:
        has_reply = any(convention_of(key) is Convention.REPLY for key, _, _ in node.properties)
        place.is_reply_place = not has_reply
    scene.allowance.take(len(node.properties) // 16)
    written: dict[str, Any] = {}
    for key, child, required in node.properties:
        if _is_left_empty(scene, child, key, required=required, depth=place.depth):
            if child.nullable:
                written[key] = None
            continue
        is_deeper = _single(child).kind in {"object", "array"}
        written[key] = _value(scene, child, key, place.inside() if is_deeper else place)
    if node.additional is not None:
        _further_keys(scene, node, name, place, written)
    _prove(scene, node, written)
    return written


def _prove(scene: Scene, node: FormNode, written: dict[str, Any]) -> None:
    """Set a text that has evidence in the same object to the content of that evidence."""
    names = {convention_of(key): (key, _single(child)) for key, child, _ in node.properties}
    name, form = names.get(Convention.TEXT, ("", FormNode()))
    quote = written.get(names.get(Convention.EVIDENCE, ("", FormNode()))[0])
    is_plain = form.kind == "string" and form.pattern is None and form.format is None
    if name in written and isinstance(quote, str) and quote and is_plain:
        written[name] = proved_text(scene, quote, form)


def _further_keys(
    scene: Scene, node: FormNode, name: str, place: FieldPlace, written: dict[str, Any]
) -> None:
    """Write keys that the schema does not name: the candidates' ids, or some words."""
    child = node.additional or FormNode()
    if convention_of(name) in _PER_CANDIDATE and scene.material.candidates:
        for index, candidate in enumerate(scene.material.candidates):
            inside = FieldPlace(depth=place.depth + 1, is_reply_place=False, item=index)
            written[candidate.id] = _value(scene, child, "score", inside)
        return
    wanted = node.min_properties
    if not node.properties and place.depth < FLAT_DEPTH:
        wanted = max(wanted, 1 + scene.draws.index(2))
    names = node.key_names or list(bank_of("en").words)
    for attempt in range(_MAX_TRIES):
        if len(written) >= wanted:
            return
        key = scene.draws.pick(names) if attempt < len(names) else f"{names[0]}_{attempt}"
        if node.key_pattern is not None:
            key = matching_text(node.key_pattern, FormNode(kind="string"), scene.draws)
        if key not in written:
            written[key] = _value(scene, child, key, place.inside())


def _array(scene: Scene, node: FormNode, name: str, place: FieldPlace) -> list[Any]:
    kind = convention_of(name)
    items = _single(node.items) if node.items is not None else FormNode()
    if node.max_items == 0:
        return []
    if node.prefix:
        return _tuple(scene, node, name, place)
    if scene.material.candidates and _is_per_candidate(items, kind):
        return _per_candidate(scene, node, items, name, place)
    if kind is Convention.CANDIDATES and items.kind in {"object", "string"}:
        return _candidates(scene, node, items, place)
    if kind is Convention.BUBBLES and items.kind in {"object", "string"}:
        return _bubbles(scene, node, items, place)
    low, high = node.min_items, node.max_items
    most = min(low + 2, high) if high is not None else low + 2
    count = low if place.depth > FLAT_DEPTH else low + scene.draws.index(most - low + 1)
    if low == 0 and most > 0 and place.depth <= 2:
        count = max(count, 1)
    return _different(scene, node, count, name, place)


def _tuple(scene: Scene, node: FormNode, name: str, place: FieldPlace) -> list[Any]:
    items = node.items or FormNode()
    written = [_value(scene, child, name, place.inside()) for child in node.prefix]
    missing = range(len(written), node.min_items)
    return written + [_value(scene, items, name, place.inside()) for _ in missing]


def _different(scene: Scene, node: FormNode, count: int, name: str, place: FieldPlace) -> list[Any]:
    """Return `count` values, all different where that is asked, or likely wanted (enums)."""
    items = _single(node.items or FormNode())
    must_differ = node.is_unique or items.kind == "enum"
    written: list[Any] = []
    seen: set[bytes] = set()
    for attempt in range(max(count * 4, _MAX_TRIES)):
        if len(written) >= count:
            break
        inside = place.inside()
        inside.number = attempt
        value = _value(scene, items, name, inside)
        mark = orjson.dumps(value, default=float)
        if mark in seen and (must_differ or len(written) >= node.min_items):
            continue
        seen.add(mark)
        written.append(value)
    return written if node.is_unique else _filled_up(scene, written, node.min_items)


def _filled_up(scene: Scene, values: list[Any], least: int) -> list[Any]:
    missing = least - len(values)
    if not values or missing <= 0:
        return values
    scene.allowance.take(missing * (1 + len(orjson.dumps(values[-1], default=float)) // 16))
    return values + [values[-1]] * missing


def _is_per_candidate(items: FormNode, kind: Convention) -> bool:
    """Whether an array has one entry for each candidate of the material."""
    if kind in _PER_CANDIDATE:
        return True
    if items.kind != "object":
        return False
    kinds = {convention_of(name) for name, _, _ in items.properties}
    is_written = kinds & (REPLY_KINDS | {Convention.STRATEGY})
    is_judged = kinds & (_SCORE_KINDS | {Convention.RANK})
    return Convention.ID in kinds and bool(is_judged) and not is_written


def _per_candidate(
    scene: Scene, node: FormNode, items: FormNode, name: str, place: FieldPlace
) -> list[Any]:
    is_ranking = convention_of(name) is Convention.RANKING
    order = scene.ranked() if is_ranking else range(len(scene.material.candidates))
    values: list[Any] = []
    for index in order[: node.max_items]:
        inside = FieldPlace(place.depth + 1, is_reply_place=False, item=index, number=len(values))
        if is_ranking and items.kind in {"string", "integer", "enum"}:
            values.append(_ranked_entry(scene, items, inside))
        else:
            is_number = items.kind in {"number", "integer"}
            values.append(_value(scene, items, "score" if is_number else "id", inside))
    return _filled_up(scene, values, node.min_items)


def _ranked_entry(scene: Scene, items: FormNode, place: FieldPlace) -> Any:
    """Return a candidate of a ranking by its id, or by its number from 1."""
    index = place.item or 0
    name = scene.material.candidates[index].id
    if items.kind == "integer":
        return fitted_number(int(name) if name.isdecimal() else index + 1, items)
    if items.kind == "enum" and name in items.values:
        return name
    return _value(scene, items, "id", place)


def _candidates(scene: Scene, node: FormNode, items: FormNode, place: FieldPlace) -> list[Any]:
    count = scene.material.count
    wanted = max(_DEFAULT_CANDIDATES if count is None else count, node.min_items)
    if node.max_items is not None:
        wanted = min(wanted, node.max_items)
    written = []
    for number in range(wanted):
        holder = ReplyHolder(is_candidate=True, number=number)
        inside = FieldPlace(depth=place.depth + 1, holder=holder, number=number)
        written.append(_value(scene, items, "reply", inside))
    return written


def _bubbles(scene: Scene, node: FormNode, items: FormNode, place: FieldPlace) -> list[Any]:
    text = scene.reply_at(place)
    cut = sentences_of(text, max_count=node.max_items)
    while len(cut) < node.min_items:
        cut.append(scene.draws.pick(bank_of(scene.language).warmths["light"]))
    written = []
    for number, bubble in enumerate(cut):
        inside = replace(place.inside(), item=None, bubble=bubble, number=number)
        written.append(_value(scene, items, "text", inside))
    return written
