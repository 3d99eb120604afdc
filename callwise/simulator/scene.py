"""State of one answer while it is written: its replies, its judgements, its place.

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
from callwise.simulator.forms import MAX_VALUES, Allowance
from callwise.simulator.judge import ItemNoise, JudgePassNoise, SimulatedJudge
from callwise.simulator.phrases import SLOTS, Phrase, PhraseBook, bank_of
from callwise.simulator.request import SimulatedRequest
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = [
    "Draft",
    "FieldPlace",
    "Scene",
    "compose",
    "fragment_of",
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
    """Where in the answer something is written.

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


class Scene:
    """What all parts of one answer share."""

    def __init__(
        self,
        *,
        settings: SimulatedSettings,
        book: PhraseBook,
        judge: SimulatedJudge,
        material: SimulatedRequest,
        draws: SeededStream,
        keeps_levels: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        self.settings = settings
        self.keeps_levels = keeps_levels
        """Whether written scores carry what else might stand there; see `score_odds`."""
        self.allowance = allowance or Allowance(MAX_VALUES, "values")
        """How much may still be written."""
        self.book = book
        self.material = material
        self.draws = draws
        self.language = material.language
        self._judge = judge
        self._look: JudgePassNoise | None = None
        self._items: dict[str, ItemNoise] = {}
        self._base: Draft | None = None
        self._ranked: list[int] | None = None
        self._written: set[str] = set()
        self.strategies = list(material.strategies_used)

    def item_look(self, key: str, text: str, position: int = 0, count: int = 1) -> ItemNoise:
        """Return this call's look at a text; the same key is looked at once."""
        if self._look is None:
            self._look = self._judge.look(self.material.rubric, self.draws)
        known = self._items.get(key)
        if known is None:
            known = self._look.item(self.book.read(text), position, count)
            self._items[key] = known
        return known

    def candidate_look(self, index: int) -> ItemNoise:
        """Return this call's look at one of the material's candidates."""
        shown = self.material.candidates
        return self.item_look(f"candidate:{index}", shown[index].reply, index, len(shown))

    def subject_look(self, place: FieldPlace) -> ItemNoise | None:
        """Return the look at what a score at this place is about, or None."""
        if place.item is not None:
            return self.candidate_look(place.item)
        if place.holder.is_candidate:
            text = self.reply_at(place)
            return self.item_look(f"own:{place.holder.number}", text)
        material = self.material
        if material.reply is not None:
            return self.item_look("reply", material.reply)
        if material.candidates:
            return self.candidate_look(0)
        if place.holder.text is not None:
            return self.item_look("own", place.holder.text)
        return None

    def ranked(self) -> list[int]:
        """Return the candidates' indices, best first as this call reads them; no ties."""
        if self._ranked is None:
            indices = range(len(self.material.candidates))
            self._ranked = sorted(
                indices, key=lambda index: -self.candidate_look(index).latent("score")
            )
        return self._ranked

    def current(self, name: str) -> Any:
        """Return what the material has under a property's name now, or None.

        Its objects are looked into one level deep; `stage_hint`, `next_stage` and
        `new_stage` ask for `stage`.
        """
        fields = self.material.fields
        plain = name.removeprefix("next_").removeprefix("new_").removesuffix("_hint")
        for key in (name, plain):
            if key in fields:
                return fields[key]
        inner = (value for value in fields.values() if isinstance(value, Mapping))
        return next((value[plain] for value in inner if plain in value), None)

    def fragment(self) -> str | None:
        """Return a few of the user's words."""
        return fragment_of(self.material.user_text, self.language, self.draws)

    def reply_at(self, place: FieldPlace) -> str:
        """Return the reply that belongs to a place; the same one each time."""
        holder = place.holder
        if holder.text is None:
            holder.text = self._distinct(holder)
        return holder.text

    def _distinct(self, holder: ReplyHolder) -> str:
        for _ in range(_MAX_REDRAWS):
            text = self._new_reply(holder)
            if not holder.is_candidate or text not in self._written:
                break
        self._written.add(text)
        return text

    def _new_reply(self, holder: ReplyHolder) -> str:
        material = self.material
        if material.parents:
            return self._child(material.parents[holder.number % len(material.parents)])
        if not holder.is_candidate:
            if material.reply is not None:
                return material.reply  # it is to be said, not to be found
            if material.candidates:
                return material.candidates[self.ranked()[0]].reply
        if self._base is None:
            self._base = compose(self.book, self.language, self.draws)
        draft = vary(
            self.book,
            self.language,
            self._base,
            similarity=self.settings.candidate_similarity if holder.is_candidate else 1.0,
            draws=self.draws,
        )
        return render(self.book, self.language, draft, self.fragment())

    def _child(self, parent: str) -> str:
        reading = self.book.read(parent)
        settings = self.settings
        gain = settings.refinement_gain + settings.refinement_sd * self.draws.normal()
        draft = refine(
            self.book,
            self.language,
            reading.phrases if reading.language == self.language else None,
            target=reading.quality + gain,
            draws=self.draws,
        )
        return render(self.book, self.language, draft, self.fragment())


Draft = tuple[Phrase | None, ...]
"""A reply before it is written: a phrase, or None, for each slot."""

_CORE = 1
_PROPOSALS = 10
_MAX_SOURCE_CHARS = 2000
_FRAGMENT_WORDS = 5
_FRAGMENT_CHARS = 40
_FRAGMENT_WIDE_CHARS = 12
_CLAUSE_ENDS = re.compile(r"[，。！？、；：…,.!?;:\n\r\t“”\"「」『』~～()（）\[\]{}<>|*#`]+")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？…]*[”」\"]?")


def fragment_of(user_text: str, language: str, draws: SeededStream) -> str | None:
    """Return a few words that stand verbatim in the user's text, or None without words."""
    clauses = [
        clause
        for part in _CLAUSE_ENDS.split(user_text[:_MAX_SOURCE_CHARS])
        if len(clause := part.strip()) > 1
    ]
    if not clauses:
        return None
    clause = draws.pick(clauses)
    if language == "zh":
        return clause[:_FRAGMENT_WIDE_CHARS].strip()
    words = clause.split(" ")
    start = draws.index(max(len(words) - _FRAGMENT_WORDS, 0) + 1)
    return " ".join(words[start : start + _FRAGMENT_WORDS])[:_FRAGMENT_CHARS].strip() or None


def _draw_slot(book: PhraseBook, language: str, slot: int, draws: SeededStream) -> Phrase | None:
    if not draws.chance(SLOTS[slot][1]):
        return None
    return draws.pick(book.slots[language][slot])


def compose(book: PhraseBook, language: str, draws: SeededStream) -> Draft:
    """Return a reply drawn at random: quality 0 on average, SD 1."""
    return tuple(_draw_slot(book, language, slot, draws) for slot in range(len(SLOTS)))


def vary(
    book: PhraseBook, language: str, base: Draft, *, similarity: float, draws: SeededStream
) -> Draft:
    """Return a reply whose quality correlates with its siblings', drawn from the same base.

    Args:
        book: the phrases.
        language: `en` or `zh`.
        base: what the siblings have in common.
        similarity: correlation of two siblings' qualities, in [0, 1].
        draws: the answer's stream.
    """
    share = similarity**0.5
    return tuple(
        kept if draws.chance(share) else _draw_slot(book, language, slot, draws)
        for slot, kept in enumerate(base)
    )


def _quality(draft: Draft) -> float:
    return math.fsum(phrase.weight for phrase in draft if phrase)


def _changed(book: PhraseBook, language: str, parent: Draft, draws: SeededStream) -> Draft:
    """Return a copy of a reply with one or two phrases drawn again."""
    child = list(parent)
    for slot in (draws.index(len(SLOTS)), draws.index(len(SLOTS))):
        child[slot] = _draw_slot(book, language, slot, draws)
    return tuple(child)


def refine(
    book: PhraseBook,
    language: str,
    parent: Draft | None,
    *,
    target: float,
    draws: SeededStream,
) -> Draft:
    """Return a child of a parent, as near to a target quality as a few tries get.

    Args:
        book: the phrases.
        language: `en` or `zh`.
        parent: the parent's phrases, or None for a text that has none of ours.
        target: the quality aimed at, in within-prompt SD.
        draws: the answer's stream.
    """
    best: Draft | None = None
    best_miss = math.inf
    for _ in range(_PROPOSALS):
        if parent is None or parent[_CORE] is None:
            child = compose(book, language, draws)
        else:
            child = _changed(book, language, parent, draws)
        miss = abs(_quality(child) - target)
        if miss < best_miss and child != parent:
            best, best_miss = child, miss
    return best if best is not None else compose(book, language, draws)


def render(book: PhraseBook, language: str, draft: Draft, fragment: str | None) -> str:
    """Return a draft as text. A core without the user's words to quote takes a plain one.

    The plain core is the one nearest in weight, so that the quality hardly moves.
    """
    bank = bank_of(language)
    sentences = []
    for phrase in draft:
        if phrase is None:
            continue
        written = phrase
        if phrase.tail and fragment is None:
            plain = [core for core in book.slots[language][_CORE] if not core.tail]
            written = min(plain, key=lambda core: abs(core.weight - phrase.weight))
        sentences.append(written.text.replace("{x}", fragment or ""))
    return bank.joint.join(sentences)


def sentences_of(text: str, *, max_count: int | None = None) -> list[str]:
    """Return a text's sentences, in order; what exceeds `max_count` joins the last one."""
    sentences: list[str] = [part.strip() for part in _SENTENCE.findall(text) if part.strip()]
    if not sentences:
        sentences = [text]
    if max_count is not None and len(sentences) > max_count >= 1:
        kept, rest = sentences[: max_count - 1], sentences[max_count - 1 :]
        joint = " " if rest[0].isascii() else ""
        sentences = [*kept, joint.join(rest)]
    return sentences
