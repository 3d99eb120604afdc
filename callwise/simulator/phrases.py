"""Phrase banks, and the hidden true quality of a reply as a pure function of its text.

The server keeps no state, so the quality is in the text itself. Replies of the simulated
model are made of phrases (`banks/en.yaml`, `banks/zh.yaml`) that fit the kind of the message,
such as a question; each phrase has a weight that is drawn from the seed, and a reply's quality
is the sum of its phrases' weights. Phrases are found anywhere in a text, whatever the spaces,
marks and letter case, so that a reply keeps its quality when it is cut into bubbles and joined
again. A text without a known phrase, for example a human's, has a quality drawn from its letters.

Invariant: over replies to one kind of message as `scene.compose` draws them, the quality has
mean 0 and SD 1 (the unit "within-prompt SD"), for every language and seed. So the weights of
each list of phrases have mean 0 and the same SD.
"""

import math
import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from itertools import chain
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

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader of libyaml, several times as fast, where PyYAML was built with it."""


@dataclass(frozen=True, slots=True)
class PhraseBank:
    """Phrases of one language, by their place in a reply; the bank's files describe the fields."""

    kinds: Mapping[str, tuple[str, str, str, str]]
    openings: Mapping[str, tuple[str, ...]]
    cores: Mapping[str, tuple[str, ...]]
    warmths: Mapping[str, tuple[str, ...]]
    closes: Mapping[str, tuple[str, ...]]
    assistant: tuple[str, ...]
    assistant_markers: tuple[str, ...]
    message_words: Mapping[str, tuple[str, ...]]
    topics: Mapping[str, str]
    lines: Mapping[str, tuple[str, ...]]
    goals: tuple[str, ...]
    words: tuple[str, ...]
    joint: str
    lead_in: str
    signals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strategies: tuple[str, ...] = ()
    pattern_texts: tuple[str, ...] = ()


@cache
def bank_of(language: str) -> PhraseBank:
    """Return the shipped phrase bank of one of `LANGUAGES`."""
    folder = files("callwise.simulator").joinpath("banks")
    parts = (
        yaml.load(folder.joinpath(f"{name}.yaml").read_text("utf-8"), _LOADER)  # noqa: S506 - safe
        for name in (language, f"{language}_fields")
    )
    return TypeAdapter(PhraseBank).validate_python(dict(ChainMap(*parts)))


SLOTS = (("opening", 0.75, 0.2), ("core", 1.0, 0.4), ("warmth", 0.7, 0.2), ("close", 0.65, 0.2))
"""Places of a reply: name, share of replies that fill it, share of the quality's variance."""

MAX_TOPIC_CHARS = 60
"""Longest topic in a core phrase, in letters."""

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
        text: the sentence; `{x}` is replaced by the message's topic.
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


class WeightedPhrases:
    """All phrases with the weights of one seed.

    Attributes:
        slots: phrases by language, kind of message and slot.
        read: of a text: its `TextReading`. The latest 512 are kept.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.slots: dict[str, dict[str, tuple[tuple[Phrase, ...], ...]]] = {}
        self._by_start: dict[str, list[Phrase]] = {}
        for language in LANGUAGES:
            bank = bank_of(language)
            lists = [
                {name: self._weigh(language, slot, texts) for name, texts in by_name.items()}
                for slot, by_name in enumerate(
                    (bank.openings, bank.cores, bank.warmths, bank.closes)
                )
            ]
            self.slots[language] = {
                kind: tuple(lists[slot][name] for slot, name in enumerate(names))
                for kind, names in bank.kinds.items()
            }
            for phrase in chain.from_iterable(chain(*(each.values() for each in lists))):
                self._by_start.setdefault(phrase.head[:_INDEX_CHARS], []).append(phrase)
        for same_start in self._by_start.values():
            same_start.sort(key=lambda phrase: -len(phrase.head))
        self._markers = tuple(
            _letters(marker)
            for language in LANGUAGES
            for marker in bank_of(language).assistant_markers
        )
        self.read = lru_cache(maxsize=512)(self._read)

    def _weigh(self, language: str, slot: int, texts: tuple[str, ...]) -> tuple[Phrase, ...]:
        name, share_filled, share_variance = SLOTS[slot]
        assistant = bank_of(language).assistant
        keys = [
            hashed_normal("phrase", self.seed, name, text)
            - (_ASSISTANT_PENALTY if text in assistant else 0.0)
            for text in texts
        ]
        spread = (share_variance / share_filled) ** 0.5
        phrases = []
        for text, score in zip(texts, _normal_scores(keys), strict=True):
            head, _, tail = text.partition("{x}")
            phrases.append(
                Phrase(
                    language,
                    slot,
                    text,
                    head=_letters(head),
                    tail=_letters(tail),
                    is_assistant=text in assistant,
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
            tail = letters.find(phrase.tail, end, end + MAX_TOPIC_CHARS + len(phrase.tail))
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
