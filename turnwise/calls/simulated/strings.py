"""Text for the string fields of an answer."""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

from turnwise.calls.simulated.bank import STRATEGIES
from turnwise.calls.simulated.conventions import Convention
from turnwise.calls.simulated.draws import Draws
from turnwise.calls.simulated.quality import BANKS
from turnwise.calls.simulated.replies import sentences_of
from turnwise.calls.simulated.scene import Place, Scene
from turnwise.calls.simulated.schema import Node

__all__ = ["evidence", "fitted", "matching_text", "pick_strategy", "proved_text", "string_value"]

_SHORT_CHARS = 24
_QUOTE_CHARS = 60
_FIRST_DAY, _DAYS = 1, 28
_LEAD_IN = {"en": "they said that ", "zh": "对方的意思是"}

_PATTERN_TRIALS = (
    "calm",
    "a_1",
    "c1",
    "a-b",
    "A1",
    "ABC",
    "Calm",
    "1",
    "12",
    "0.5",
    "2026-01-05",
    "12:30",
    "2026-01-05T12:30:00Z",
    "#a0b1c2",
    "a0b1c2d3",
    "a@example.org",
    "https://example.org/a",
    "en",
    "en-GB",
    "平静",
    "Calm words.",
    "",
)


def fitted(text: str, node: Node, filler: str) -> str:
    """Return a text with a length that the node allows.

    Whole sentences are dropped from the end first; what is too short is filled up.

    Args:
        text: the text.
        node: a string node.
        filler: what is appended while the text is too short.
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


def _formatted(name: str, draws: Draws) -> str | None:
    day = f"2026-{1 + draws.index(12):02d}-{_FIRST_DAY + draws.index(_DAYS):02d}"
    clock = f"{draws.index(24):02d}:{draws.index(60):02d}:00"
    digits = "".join(f"{draws.index(16):x}" for _ in range(32))
    forms = {
        "date": day,
        "time": f"{clock}Z",
        "date-time": f"{day}T{clock}Z",
        "duration": f"PT{1 + draws.index(59)}M",
        "uuid": f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}",
        "uuid4": f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}",
        "email": f"{digits[:6]}@example.org",
        "uri": f"https://example.org/{digits[:6]}",
        "ipv4": f"192.0.2.{1 + draws.index(254)}",
        "ipv6": f"2001:db8::{digits[:4]}",
    }
    return forms.get(name)


def matching_text(pattern: str, node: Node, draws: Draws) -> str:
    """Return a text that matches a simple pattern, tried out from a list of usual forms.

    A pattern that none of them fits gets the first form: then the answer is invalid,
    and the asker's repair has work. Such patterns are rare in response models.
    """
    start = draws.index(3)
    trials = [*_PATTERN_TRIALS[start:], *_PATTERN_TRIALS[:start]]
    for trial in trials:
        for text in (trial, trial * max(node.min_length, 1), trial * 8):
            cut = text if node.max_length is None else text[: node.max_length]
            if len(cut) >= node.min_length and _matches(pattern, cut):
                return cut
    return _PATTERN_TRIALS[0]


def pick_strategy(scene: Scene, allowed: list[str] | None = None) -> str:
    """Return a strategy tag that no earlier candidate has, if one is left.

    Earlier ones are those of this answer, and `strategies_used` of the material.
    """
    draws, used = scene.draws, scene.strategies
    names = allowed or list(STRATEGIES)
    if used and used[-1] in names and draws.chance(scene.settings.strategy_repeat_rate):
        return used[-1]
    chosen = draws.pick([name for name in names if name not in used] or names)
    used.append(chosen)
    return chosen


def evidence(scene: Scene, node: Node) -> str:
    """Return a quotation: a verbatim piece of a source, or, rarely, not quite."""
    draws, sources = scene.draws, scene.material.sources
    if not sources:
        return fitted("", node, BANKS[scene.language].goals[0])
    source = draws.pick(sources[:2]) if len(sources) > 1 else sources[0]
    if draws.chance(scene.settings.evidence_miss_rate):
        return fitted(_LEAD_IN[scene.language] + source[:_QUOTE_CHARS], node, "…")
    most = min(node.max_length or _QUOTE_CHARS, _QUOTE_CHARS)
    least = min(max(node.min_length, 4), most)
    long_enough = [piece for piece in sentences_of(source[:2000]) if len(piece) >= least]
    piece = draws.pick(long_enough) if long_enough else source.strip()
    if len(piece) < node.min_length:
        piece = source
    return fitted(piece[: max(most, node.min_length)].strip(), node, "…")


def proved_text(scene: Scene, quote: str, node: Node) -> str:
    """Return a text that says what a quotation says."""
    lead_in = _LEAD_IN[scene.language]
    return fitted(quote if quote.startswith(lead_in) else lead_in + quote, node, "…")


def _sentence(scene: Scene) -> str:
    thought = scene.draws.pick(BANKS[scene.language].thoughts)
    words = scene.fragment() or scene.draws.pick(BANKS[scene.language].words)
    return thought.replace("{x}", words)


def _plain_text(scene: Scene, kind: Convention, node: Node, place: Place) -> str:
    bank, draws = BANKS[scene.language], scene.draws
    if kind is Convention.REPLY:
        return scene.reply_at(place)
    if kind is Convention.TEXT and (place.bubble is not None or place.is_reply_place):
        return place.bubble if place.bubble is not None else scene.reply_at(place)
    if kind is Convention.BUBBLES:
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
    if kind is Convention.WORD or is_short:
        return draws.pick(bank.words)
    return _sentence(scene)


def string_value(scene: Scene, kind: Convention, node: Node, place: Place) -> str:
    """Return the text of a string field.

    Args:
        scene: the answer.
        kind: what the field's name means.
        node: a string node.
        place: where it stands.
    """
    scene.allowance.take(node.min_length // 16)
    if node.format is not None:
        formatted = _formatted(node.format, scene.draws)
        if formatted is not None:
            return formatted
    if kind is Convention.EVIDENCE and node.pattern is None:
        return evidence(scene, node)
    text = _plain_text(scene, kind, node, place)
    bank = BANKS[scene.language]
    text = fitted(text, node, scene.draws.pick(bank.goals) if node.min_length else "")
    if node.pattern is not None and not _matches(node.pattern, text):
        return matching_text(node.pattern, node, scene.draws)
    return text


@lru_cache(maxsize=256)
def _checked_by(pattern: str) -> SchemaValidator | None:
    """Return what checks texts by a pattern in time linear in their length; None for no pattern.

    A pattern may be anybody's, and Python's own expressions can take longer than anybody waits.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


def _matches(pattern: str, text: str) -> bool:
    checked = _checked_by(pattern)
    return checked is not None and checked.isinstance_python(text)
