"""Values for the number, boolean and string fields of an answer."""

import math
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

from callwise.simulator.faults import SeededStream
from callwise.simulator.forms import REPLY_KINDS, Convention, FormNode
from callwise.simulator.judge import with_levels
from callwise.simulator.phrases import bank_of
from callwise.simulator.scene import FieldPlace, Scene, sentences_of

__all__ = [
    "boolean_value",
    "evidence",
    "fitted",
    "fitted_number",
    "matching_text",
    "number_value",
    "pick_strategy",
    "proved_text",
    "string_value",
]

_SMALL_SHARE = 0.12
"""SD of a small signed value, as a share of half its range."""

_DRIFT_SHARE = 0.06
"""SD of the change of a value that the material already has, as a share of its range."""

_LOW_SHARE = 0.12
"""SD of a value that is usually low, as a share of its range."""

_ASSISTANT_THRESHOLD = 0.35


def _range(node: FormNode, kind: Convention) -> tuple[float, float]:
    """Return the least and greatest value to write; a missing limit is guessed."""
    low, high = node.minimum, node.maximum
    width = 9.0 if node.kind == "integer" else 1.0
    if kind is Convention.SECONDS:
        width = 3.0
    if high is None:
        if low is not None:
            return low, low + width
        if kind is Convention.SIGNED:
            return -width, width
        return (0.3, 3.0) if kind is Convention.SECONDS and node.kind == "number" else (0.0, width)
    if low is None:
        return (0.0 if high > 0 else high - width), high
    return low, high


def _fitted(value: float, node: FormNode, low: float, high: float) -> float | int:
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


def fitted_number(value: float, node: FormNode) -> float | int:
    """Return the number nearest to a value that the node's own limits allow."""
    low = min(value, 0) if node.minimum is None else node.minimum
    high = max(value, low + 1) if node.maximum is None else node.maximum
    return _fitted(value, node, min(low, high), high)


def _share(kind: Convention, share: float) -> float:
    """Return a score as a share of its range; a risk is low where the reply is good."""
    return round((1.0 - share) / 2, 3) if kind is Convention.RISK else share


def _score(
    scene: Scene, kind: Convention, name: str, node: FormNode, place: FieldPlace
) -> float | int | None:
    """Return a judge's reading, or None when nothing is judged.

    It carries its levels if the scene keeps them; the reading of assistant-likeness, which is
    not rounded to steps, has none.
    """
    item = scene.judged_item(place)
    if item is None:
        return None
    low, high = _range(node, kind)

    def written(share: float) -> float | int:
        return _fitted(low + share * (high - low), node, low, high)

    if kind is Convention.ASSISTANTNESS:
        return written(item.assistantness())
    number = written(_share(kind, item.share(name)))
    if not scene.keeps_levels:
        return number
    levels = [(written(_share(kind, share)), above) for share, above in item.levels(name)]
    return with_levels(number, levels)


def number_value(
    scene: Scene, kind: Convention, name: str, node: FormNode, place: FieldPlace
) -> float | int:
    """Return the number of a field called `name`, which has the meaning `kind`.

    In order: a rank, a judge's reading, a value near the one that the material has
    under the same name, something usually low, a small signed value, a value near the
    middle.
    """
    if kind is Convention.RANK and place.item is not None:
        return fitted_number(1 + scene.ranked().index(place.item), node)
    if kind in {Convention.SCORE, Convention.ASSISTANTNESS, Convention.RISK}:
        score = _score(scene, kind, name, node, place)
        if score is not None:
            return score
    low, high = _range(node, kind)
    draws, current = scene.draws, scene.current(name)
    if (
        isinstance(current, int | float)
        and not isinstance(current, bool)
        and low <= current <= high
    ):
        value = current + _DRIFT_SHARE * (high - low) * draws.normal()
    elif kind in {Convention.LOW, Convention.RISK, Convention.ASSISTANTNESS}:
        value = low + _LOW_SHARE * (high - low) * abs(draws.normal())
    elif low < 0.0 < high:
        value = _SMALL_SHARE * min(-low, high) * draws.normal()
    else:
        value = low + (high - low) * ((draws.unit() + draws.unit()) / 2)
    return _fitted(value, node, low, high)


def boolean_value(scene: Scene, kind: Convention, place: FieldPlace) -> bool:
    """Return the value of a boolean: a reading for assistant-likeness, else a draw."""
    if kind is Convention.ASSISTANTNESS:
        item = scene.judged_item(place)
        if item is not None:
            return item.assistantness() >= _ASSISTANT_THRESHOLD
    return scene.draws.chance(scene.settings.boolean_true_rate)


_SHORT_CHARS = 24
_QUOTE_CHARS = 60


def fitted(text: str, node: FormNode, filler: str) -> str:
    """Return a text with a length that the node allows.

    Whole sentences are dropped from the end first; `filler` is appended to a short text.
    """
    most = node.max_length
    if most is not None and len(text) > most:
        sentences = sentences_of(text)
        joint = " " if text.isascii() else ""
        while len(sentences) > 1 and len(joint.join(sentences)) > most:
            sentences.pop()
        text = joint.join(sentences)[:most].strip()
    while len(text) < node.min_length:
        text = f"{text} {filler}".strip()
        if most is not None and len(text) > most:
            text = text[:most].rstrip().ljust(node.min_length, ".")
    return text


def _formatted(name: str, draws: SeededStream) -> str | None:
    """Return a text of a JSON schema's `format`, or None for an unknown one."""
    day = f"2026-{1 + draws.index(12):02d}-{1 + draws.index(28):02d}"
    clock = f"{draws.index(24):02d}:{draws.index(60):02d}:00"
    digits = "".join(f"{draws.index(16):x}" for _ in range(32))
    uuid = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    forms = {
        "date": day,
        "time": f"{clock}Z",
        "date-time": f"{day}T{clock}Z",
        "duration": f"PT{1 + draws.index(59)}M",
        "uuid": uuid,
        "uuid4": uuid,
        "email": f"{digits[:6]}@example.org",
        "uri": f"https://example.org/{digits[:6]}",
        "ipv4": f"192.0.2.{1 + draws.index(254)}",
        "ipv6": f"2001:db8::{digits[:4]}",
    }
    return forms.get(name)


def matching_text(pattern: str, node: FormNode, draws: SeededStream) -> str:
    """Return a text that matches a simple pattern, tried out from a list of usual forms.

    A pattern that none of them fits gets the first form: then the answer is invalid and
    must be repaired. Such patterns are rare in response models.
    """
    start = draws.index(3)
    trials = bank_of("en").pattern_texts
    for trial in (*trials[start:], *trials[:start]):
        for text in (trial, trial * max(node.min_length, 1), trial * 8):
            cut = text if node.max_length is None else text[: node.max_length]
            if len(cut) >= node.min_length and _matches(pattern, cut):
                return cut
    return trials[0]


def pick_strategy(scene: Scene, allowed: list[str] | None = None) -> str:
    """Return a strategy tag, if possible one that neither this answer nor the material has used."""
    draws, used = scene.draws, scene.strategies
    names = allowed or bank_of("en").strategies
    if used and used[-1] in names and draws.chance(scene.settings.strategy_repeat_rate):
        return used[-1]
    chosen = draws.pick([name for name in names if name not in used] or names)
    used.append(chosen)
    return chosen


def evidence(scene: Scene, node: FormNode) -> str:
    """Return a quotation: a verbatim piece of a source or, rarely, a changed one."""
    draws, sources = scene.draws, scene.material.sources
    if not sources:
        return fitted("", node, bank_of(scene.language).goals[0])
    source = draws.pick(sources[:2]) if len(sources) > 1 else sources[0]
    if draws.chance(scene.settings.evidence_miss_rate):
        return fitted(bank_of(scene.language).lead_in + source[:_QUOTE_CHARS], node, "…")
    most = min(node.max_length or _QUOTE_CHARS, _QUOTE_CHARS)
    least = min(max(node.min_length, 4), most)
    long_enough = [piece for piece in sentences_of(source[:2000]) if len(piece) >= least]
    piece = draws.pick(long_enough) if long_enough else source.strip()
    if len(piece) < node.min_length:
        piece = source
    return fitted(piece[: max(most, node.min_length)].strip(), node, "…")


def proved_text(scene: Scene, quote: str, node: FormNode) -> str:
    """Return a text with the content of a quotation."""
    lead_in = bank_of(scene.language).lead_in
    return fitted(quote if quote.startswith(lead_in) else lead_in + quote, node, "…")


_LINES = frozenset(
    {
        Convention.THOUGHT,
        Convention.FEELING,
        Convention.IMPULSE,
        Convention.MENTION,
        Convention.AVOID,
        Convention.SUMMARY,
        Convention.TONE,
    }
)
"""Meanings with sentences of their own name in the banks."""

_GOOD_SHARE, _WEAK_SHARE = 0.74, 0.56
"""Shares of a score's range: at the first a judge praises, below the second it blames."""


def _sentence(scene: Scene, kind: Convention, place: FieldPlace) -> str:
    """Return a sentence for a field of a meaning."""
    if kind is Convention.CONTEXT:
        return scene.line(f"context_{scene.message.kind}")
    if kind is Convention.REASON and (item := scene.judged_item(place)) is not None:
        share = item.share("score")
        level = "good" if share >= _GOOD_SHARE else "weak" if share < _WEAK_SHARE else "fair"
        return scene.line(f"reason_{level}")
    return scene.line(kind.name.lower() if kind in _LINES else "other")


def _plain_text(scene: Scene, kind: Convention, node: FormNode, place: FieldPlace) -> str:
    bank, draws = bank_of(scene.language), scene.draws
    if kind is Convention.TEXT and place.bubble is not None:
        return place.bubble
    if kind in REPLY_KINDS or (kind is Convention.TEXT and place.is_reply_place):
        return scene.reply_at(place)
    if kind is Convention.STRATEGY:
        return pick_strategy(scene)
    if kind is Convention.ID:
        shown = scene.material.candidates
        return f"c{place.number + 1}" if place.item is None else shown[place.item].id
    if kind is Convention.BEST and scene.material.candidates:
        return scene.material.candidates[scene.ranked()[0]].id
    if kind is Convention.GOAL:
        return draws.pick(bank.goals)
    if kind is Convention.LANGUAGE:
        return scene.language
    is_short = node.max_length is not None and node.max_length < _SHORT_CHARS
    if kind in {Convention.WORD, Convention.SIGNALS} or (is_short and kind not in _LINES):
        return draws.pick(bank.words)
    return _sentence(scene, kind, place)


def string_value(scene: Scene, kind: Convention, node: FormNode, place: FieldPlace) -> str:
    """Return the text of a string field with the meaning `kind`."""
    scene.allowance.take(node.min_length // 16)
    if node.format is not None:
        formatted = _formatted(node.format, scene.draws)
        if formatted is not None:
            return formatted
    if kind is Convention.EVIDENCE and node.pattern is None:
        return evidence(scene, node)
    if kind is Convention.FACT and node.pattern is None and scene.material.sources:
        return proved_text(scene, evidence(scene, FormNode(kind="string")), node)
    text = _plain_text(scene, kind, node, place)
    bank = bank_of(scene.language)
    text = fitted(text, node, scene.draws.pick(bank.goals) if node.min_length else "")
    if node.pattern is not None and not _matches(node.pattern, text):
        return matching_text(node.pattern, node, scene.draws)
    return text


@lru_cache(maxsize=32)
def _validator(pattern: str) -> SchemaValidator | None:
    """Return the validator of a pattern, or None for an invalid one.

    Its time is linear in the text's length: patterns are untrusted, and Python's own
    expressions can take exponential time.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


def _matches(pattern: str, text: str) -> bool:
    validator = _validator(pattern)
    return validator is not None and validator.isinstance_python(text)
