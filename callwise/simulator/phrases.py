"""Phrase banks, and the hidden true quality of a reply as a pure function of its text.

The server keeps no state, so the quality is in the text itself. Replies of the simulated
model are made of phrases (`banks/en.yaml`, `banks/zh.yaml`); each phrase has a weight that
is drawn from the seed, and a reply's quality is the sum of its phrases' weights. Phrases
are found anywhere in a text, whatever the spaces, marks and letter case, so that a reply
keeps its quality when it is cut into bubbles and joined again. A text without a known
phrase, for example a human's, has a quality drawn from its letters.

Invariant: over replies as `scene.compose` draws them, the quality of one language has mean
0 and SD 1 (the unit "within-prompt SD"), for every seed.
"""

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from statistics import NormalDist, fmean, pstdev

import yaml
from pydantic import TypeAdapter

from callwise.simulator.faults import hashed_normal

__all__ = [
    "LANGUAGES",
    "SLOTS",
    "Phrase",
    "PhraseBank",
    "TextReading",
    "WeightedPhrases",
    "bank_of",
    "true_quality",
    "weighted_phrases",
]

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class PhraseBank:
    """Phrases of one language, by their place in a reply; the bank's file describes the fields."""

    openings: tuple[str, ...]
    cores: tuple[str, ...]
    plain_cores: tuple[str, ...]
    warmths: tuple[str, ...]
    closes: tuple[str, ...]
    assistant_openings: tuple[str, ...]
    assistant_warmths: tuple[str, ...]
    assistant_closes: tuple[str, ...]
    assistant_markers: tuple[str, ...]
    thoughts: tuple[str, ...]
    goals: tuple[str, ...]
    words: tuple[str, ...]
    joint: str
    lead_in: str
    strategies: tuple[str, ...] = ()
    pattern_texts: tuple[str, ...] = ()


@cache
def bank_of(language: str) -> PhraseBank:
    """Return the shipped phrase bank of one of `LANGUAGES`."""
    text = files("callwise.simulator").joinpath("banks", f"{language}.yaml").read_text("utf-8")
    return TypeAdapter(PhraseBank).validate_python(yaml.safe_load(text))


SLOTS = (("opening", 0.75, 0.2), ("core", 1.0, 0.4), ("warmth", 0.7, 0.2), ("close", 0.65, 0.2))
"""Places of a reply: name, share of replies that fill it, share of the quality's variance."""

MAX_FRAGMENT_CHARS = 60
"""Longest quotation of the user in a core phrase, in letters."""

MAX_READ_CHARS = 4000
"""Length of the beginning of a text in which phrases are searched."""

_ASSISTANT_PENALTY = 1.0
_INDEX_CHARS = 2
_NOT_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, eq=False)
class Phrase:
    """One phrase of a bank; equal only to itself.

    Args:
        language: `en` or `zh`.
        slot: index in `SLOTS`.
        text: the sentence; `{x}` is replaced by the user's words.
        head: its letters before `{x}`, or all of them.
        tail: its letters after `{x}`; empty without `{x}`.
        is_assistant: whether it sounds like an assistant.
        weight: its part of a reply's quality, in within-prompt SD.
    """

    language: str
    slot: int
    text: str
    head: str
    tail: str
    is_assistant: bool
    weight: float


@dataclass(frozen=True, slots=True)
class TextReading:
    """The phrases found in a text, and the quality that follows from them and the seed.

    Args:
        quality: hidden true quality, in within-prompt SD.
        letters: the text without spaces and marks, lower case.
        phrases: the phrase found for each slot, or None.
        assistant_share: share of assistant phrases, in [0, 1]; two or more count as 1.
    """

    quality: float
    letters: str
    phrases: tuple[Phrase | None, ...]
    assistant_share: float

    @property
    def language(self) -> str | None:
        """The language of the phrases found, or None when there were none."""
        return next((phrase.language for phrase in self.phrases if phrase), None)


def _letters(text: str) -> str:
    return _NOT_LETTERS.sub("", text[:MAX_READ_CHARS]).lower()


def _normal_scores(keys: list[float]) -> list[float]:
    """Return numbers with mean 0 and SD 1, normally distributed, in the order of the keys."""
    raw = [0.0] * len(keys)
    for rank, index in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
        raw[index] = NormalDist().inv_cdf((rank + 0.5) / len(keys))
    mean, spread = fmean(raw), pstdev(raw)
    return [(value - mean) / spread for value in raw]


def _slot_texts(bank: PhraseBank, slot: int) -> list[tuple[str, bool]]:
    """Return the texts of a slot, each with whether it sounds like an assistant."""
    plain, assistant = (
        (bank.openings, bank.assistant_openings),
        ((*bank.cores, *bank.plain_cores), ()),
        (bank.warmths, bank.assistant_warmths),
        (bank.closes, bank.assistant_closes),
    )[slot]
    return [(text, False) for text in plain] + [(text, True) for text in assistant]


class WeightedPhrases:
    """All phrases with the weights of one seed.

    Attributes:
        slots: phrases by language and slot.
        read: of a text: its `TextReading`. The latest 512 are kept.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.slots: dict[str, tuple[tuple[Phrase, ...], ...]] = {
            language: tuple(
                self._weigh(language, bank_of(language), slot) for slot in range(len(SLOTS))
            )
            for language in LANGUAGES
        }
        self._by_start: dict[str, list[Phrase]] = {}
        for phrases in (slot for slots in self.slots.values() for slot in slots):
            for phrase in phrases:
                self._by_start.setdefault(phrase.head[:_INDEX_CHARS], []).append(phrase)
        for same_start in self._by_start.values():
            same_start.sort(key=lambda phrase: -len(phrase.head))
        self._markers = tuple(
            _letters(marker)
            for language in LANGUAGES
            for marker in bank_of(language).assistant_markers
        )
        self.read = lru_cache(maxsize=512)(self._read)

    def _weigh(self, language: str, bank: PhraseBank, slot: int) -> tuple[Phrase, ...]:
        name, share_filled, share_variance = SLOTS[slot]
        texts = _slot_texts(bank, slot)
        keys = [
            hashed_normal("phrase", self.seed, name, text) - _ASSISTANT_PENALTY * is_assistant
            for text, is_assistant in texts
        ]
        spread = (share_variance / share_filled) ** 0.5
        phrases = []
        for (text, is_assistant), score in zip(texts, _normal_scores(keys), strict=True):
            head, _, tail = text.partition("{x}")
            phrases.append(
                Phrase(
                    language,
                    slot,
                    text,
                    head=_letters(head),
                    tail=_letters(tail),
                    is_assistant=is_assistant,
                    weight=spread * score,
                )
            )
        return tuple(phrases)

    def _read(self, text: str) -> TextReading:
        letters = _letters(text)
        found: list[Phrase | None] = [None] * len(SLOTS)
        place = 0
        while place < len(letters):
            phrase, end = self._phrase_at(letters, place)
            if phrase is None:
                place += 1
                continue
            if found[phrase.slot] is None:  # the first one counts, so repeating gains nothing
                found[phrase.slot] = phrase
            place = end
        known = [phrase for phrase in found if phrase]
        if known:
            quality = math.fsum(phrase.weight for phrase in known)
        else:
            quality = hashed_normal("text", self.seed, letters) if letters else -3.0
        marked = sum(phrase.is_assistant for phrase in known) or any(
            marker in letters for marker in self._markers
        )
        return TextReading(quality, letters, tuple(found), min(marked / 2, 1.0))

    def _phrase_at(self, letters: str, place: int) -> tuple[Phrase | None, int]:
        """Return the phrase that starts here, or None, and its end."""
        best: tuple[Phrase | None, int] = (None, place)
        for phrase in self._by_start.get(letters[place : place + _INDEX_CHARS], ()):
            if not letters.startswith(phrase.head, place):
                continue
            end = place + len(phrase.head)
            if not phrase.tail:
                return phrase, end  # the longest head comes first
            tail = letters.find(phrase.tail, end, end + MAX_FRAGMENT_CHARS + len(phrase.tail))
            if tail >= 0 and (best[0] is None or tail + len(phrase.tail) < best[1]):
                best = (phrase, tail + len(phrase.tail))
        return best


weighted_phrases = lru_cache(maxsize=4)(WeightedPhrases)
"""Return the weighted phrases of a seed; those of the latest four seeds are kept."""


def true_quality(text: str, *, seed: int = 0) -> float:
    """Return the hidden true quality of a reply, in within-prompt SD; 0 is average, empty -3.

    Args:
        text: the reply; its bubbles may be joined by anything.
        seed: the seed of the simulated model; it decides which phrases are good.
    """
    return weighted_phrases(seed).read(text).quality
