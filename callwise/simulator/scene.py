"""The state of one answer while it is written: its replies, its judgements, its place.

How good replies are on average follows from how phrases are drawn: at random a reply has
quality 0 and SD 1; candidates of one call share a phrase with a common base with
probability sqrt(similarity), so that their qualities correlate by `similarity`; a child is
the nearest of a few changed copies of its parent to a drawn target.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callwise.simulator.faults import SeededStream
from callwise.simulator.forms import Allowance
from callwise.simulator.judge import ItemNoise, JudgePassNoise, SimulatedJudge
from callwise.simulator.message import read_message
from callwise.simulator.phrases import SLOTS, Phrase, WeightedPhrases, bank_of
from callwise.simulator.request import SimulatedRequest
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = [
    "Draft",
    "FieldPlace",
    "ReplyHolder",
    "Scene",
    "compose",
    "refine",
    "render",
    "sentences_of",
    "vary",
]

_MAX_REDRAWS = 6


@dataclass(slots=True)
class ReplyHolder:
    """The reply of one object, written when it is first needed."""

    is_candidate: bool = False
    number: int = 0
    text: str | None = None


@dataclass(slots=True)
class FieldPlace:
    """The place in an answer at which a value is written.

    Args:
        depth: objects and arrays above it.
        holder: the reply that belongs here; an object inside shares it.
        is_reply_place: whether `text` and `message` mean the reply here.
        item: index of the candidate that is judged here, or None.
        bubble: the bubble that `text` and `message` mean here, or None.
        number: index in the array around it.
    """

    depth: int = 0
    holder: ReplyHolder = field(default_factory=ReplyHolder)
    is_reply_place: bool = True
    item: int | None = None
    bubble: str | None = None
    number: int = 0

    def inside(self) -> "FieldPlace":
        """Return the place of an object within."""
        return FieldPlace(
            depth=self.depth + 1,
            holder=self.holder,
            is_reply_place=False,
            item=self.item,
            number=self.number,
        )


@dataclass(kw_only=True)
class Scene:
    """The state that all parts of one answer share."""

    settings: SimulatedSettings
    phrases: WeightedPhrases
    judge: SimulatedJudge
    material: SimulatedRequest
    draws: SeededStream
    """The random numbers of this answer."""
    allowance: Allowance
    """Limits how much may still be written."""
    keeps_levels: bool
    """Whether written scores carry their levels, see `judge.with_levels`."""

    def __post_init__(self) -> None:
        """Begin without replies and readings."""
        self.language = self.material.language
        self.message = read_message(self.material.user_text, self.language)
        self.strategies = list(self.material.strategies_used)
        self._slots = self.phrases.slots[self.language][self.message.kind]
        self._judge_pass: JudgePassNoise | None = None
        self._items: dict[str, ItemNoise] = {}
        self._base: Draft | None = None
        self._ranked: list[int] | None = None
        self._written: set[str] = set()

    def _item(self, key: str, text: str, position: int = 0, count: int = 1) -> ItemNoise:
        """Return this call's reading of a text; the same object for the same key."""
        if self._judge_pass is None:
            self._judge_pass = JudgePassNoise(self.judge, self.material.rubric, self.draws)
        if key not in self._items:
            self._items[key] = self._judge_pass.item(self.phrases.read(text), position, count)
        return self._items[key]

    def _candidate(self, index: int) -> ItemNoise:
        shown = self.material.candidates
        return self._item(f"candidate:{index}", shown[index].reply, index, len(shown))

    def judged_item(self, place: FieldPlace) -> ItemNoise | None:
        """Return the reading of the reply that a score at this place is about, or None."""
        if place.item is not None:
            return self._candidate(place.item)
        if place.holder.is_candidate:
            text = self.reply_at(place)
            return self._item(f"own:{place.holder.number}", text)
        if self.material.reply is not None:
            return self._item("reply", self.material.reply)
        if self.material.candidates:
            return self._candidate(0)
        if place.holder.text is not None:
            return self._item("own", place.holder.text)
        return None

    def ranked(self) -> list[int]:
        """Return the candidates' indices, best first as this call reads them; no ties."""
        if self._ranked is None:
            indices = range(len(self.material.candidates))
            self._ranked = sorted(indices, key=lambda index: -self._candidate(index).drawn("score"))
        return self._ranked

    def current(self, name: str) -> Any:
        """Return the material's value under a property's name, or None.

        Its objects are searched one level deep; `stage_hint`, `next_stage` and
        `new_stage` ask for `stage`.
        """
        fields = self.material.fields
        plain = name.removeprefix("next_").removeprefix("new_").removesuffix("_hint")
        for key in (name, plain):
            if key in fields:
                return fields[key]
        inner = (value for value in fields.values() if isinstance(value, Mapping))
        return next((value[plain] for value in inner if plain in value), None)

    def topic(self) -> str | None:
        """Return a topic of the user's message, drawn from those that it has, or None."""
        topics = self.message.topics
        return self.draws.pick(topics) if topics else None

    def line(self, meaning: str) -> str:
        """Return a sentence of the bank's `lines` of a meaning, about the message's topic."""
        lines, topic = bank_of(self.language).lines[meaning], self.topic()
        fitting = [line for line in lines if topic is not None or "{x}" not in line]
        return self.draws.pick(fitting).replace("{x}", topic or "")

    def reply_at(self, place: FieldPlace) -> str:
        """Return the reply that belongs to a place; the same one each time."""
        holder = place.holder
        if holder.text is None:
            for _ in range(_MAX_REDRAWS):
                text = self._new_reply(holder)
                if not holder.is_candidate or text not in self._written:
                    break
            self._written.add(text)
            holder.text = text
        return holder.text

    def _new_reply(self, holder: ReplyHolder) -> str:
        material = self.material
        if material.parents:
            return self._child(material.parents[holder.number % len(material.parents)])
        if not holder.is_candidate:
            if material.reply is not None:
                return material.reply  # it is to be rendered, not to be found
            if material.candidates:
                return material.candidates[self.ranked()[0]].reply
        if self._base is None:
            self._base = compose(self._slots, self.draws)
        similarity = self.settings.candidate_similarity if holder.is_candidate else 1.0
        draft = vary(self._slots, self._base, similarity=similarity, draws=self.draws)
        return render(self._slots, draft, self.topic())

    def _child(self, parent: str) -> str:
        reading = self.phrases.read(parent)
        gain = self.settings.refinement_gain + self.settings.refinement_sd * self.draws.normal()
        draft = refine(
            self._slots,
            reading.phrases if reading.language == self.language else None,
            target=reading.quality + gain,
            draws=self.draws,
        )
        return render(self._slots, draft, self.topic())


Draft = tuple[Phrase | None, ...]
"""A reply before it is written: a phrase, or None, for each slot."""

Slots = tuple[tuple[Phrase, ...], ...]
"""The phrases for one kind of message by slot, as `WeightedPhrases.slots` has them."""

_CORE = 1
_PROPOSALS = 10
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？…]*[”」\"]?")


def _draw_slot(slots: Slots, slot: int, draws: SeededStream) -> Phrase | None:
    return draws.pick(slots[slot]) if draws.chance(SLOTS[slot][1]) else None


def compose(slots: Slots, draws: SeededStream) -> Draft:
    """Return a reply drawn at random: quality 0 on average, SD 1."""
    return tuple(_draw_slot(slots, slot, draws) for slot in range(len(SLOTS)))


def vary(slots: Slots, base: Draft, *, similarity: float, draws: SeededStream) -> Draft:
    """Return a reply that shares phrases with its siblings, which are drawn from the same base.

    `similarity` is the correlation of two siblings' qualities, in [0, 1].
    """
    share = similarity**0.5
    return tuple(
        kept if draws.chance(share) else _draw_slot(slots, slot, draws)
        for slot, kept in enumerate(base)
    )


def refine(slots: Slots, parent: Draft | None, *, target: float, draws: SeededStream) -> Draft:
    """Return a child of a parent, as near to a target quality as a few tries get.

    The parent is None for a text without known phrases. The target is in within-prompt SD.
    """
    best: Draft | None = None
    best_miss = math.inf
    for _ in range(_PROPOSALS):
        if parent is None or parent[_CORE] is None:
            child = compose(slots, draws)
        else:  # a copy with one or two phrases drawn again
            copy = list(parent)
            for slot in (draws.index(len(SLOTS)), draws.index(len(SLOTS))):
                copy[slot] = _draw_slot(slots, slot, draws)
            child = tuple(copy)
        miss = abs(math.fsum(phrase.weight for phrase in child if phrase) - target)
        if miss < best_miss and child != parent:
            best, best_miss = child, miss
    return best if best is not None else compose(slots, draws)


def render(slots: Slots, draft: Draft, topic: str | None) -> str:
    """Return a draft as text. A core that names the topic becomes a plain one where there is none.

    The plain core is the one nearest in weight, so that the quality hardly changes.
    """
    sentences = []
    for phrase in filter(None, draft):
        written = phrase
        if phrase.tail and topic is None:
            plain = [core for core in slots[_CORE] if not core.tail]
            written = min(plain, key=lambda core: abs(core.weight - phrase.weight))
        sentences.append(written.text.replace("{x}", topic or ""))
    return bank_of(slots[_CORE][0].language).joint.join(sentences)


def sentences_of(text: str, *, max_count: int | None = None) -> list[str]:
    """Return a text's sentences, in order; those beyond `max_count` are joined to the last one."""
    sentences: list[str] = [part.strip() for part in _SENTENCE.findall(text) if part.strip()]
    if not sentences:
        sentences = [text]
    if max_count is not None and len(sentences) > max_count >= 1:
        kept, rest = sentences[: max_count - 1], sentences[max_count - 1 :]
        joint = " " if rest[0].isascii() else ""
        sentences = [*kept, joint.join(rest)]
    return sentences
