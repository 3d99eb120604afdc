"""The state of one answer while it is written: its replies, its looks, its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnwise.calls.simulated.draws import Draws
from turnwise.calls.simulated.judge_noise import ItemLook, Judge, Look
from turnwise.calls.simulated.material import Material
from turnwise.calls.simulated.quality import PhraseBook
from turnwise.calls.simulated.replies import Draft, compose, fragment_of, refine, render, vary
from turnwise.calls.simulated.schema import MAX_VALUES, Allowance
from turnwise.calls.simulated.settings import SimulatedSettings

__all__ = ["Place", "Scene"]

_MAX_REDRAWS = 6


@dataclass(slots=True)
class ReplyHolder:
    """The reply of one object, written when it is first needed."""

    is_candidate: bool = False
    number: int = 0
    text: str | None = None


@dataclass(slots=True)
class Place:
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

    def inside(self) -> "Place":
        """Return the place of an object within."""
        return Place(
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
        judge: Judge,
        material: Material,
        draws: Draws,
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
        self._look: Look | None = None
        self._items: dict[str, ItemLook] = {}
        self._base: Draft | None = None
        self._ranked: list[int] | None = None
        self._written: set[str] = set()
        self.strategies = list(material.strategies_used)

    def item_look(self, key: str, text: str, position: int = 0, count: int = 1) -> ItemLook:
        """Return this call's look at a text; the same key is looked at once."""
        if self._look is None:
            self._look = self._judge.look(self.material.rubric, self.draws)
        known = self._items.get(key)
        if known is None:
            known = self._look.item(self.book.read(text), position, count)
            self._items[key] = known
        return known

    def candidate_look(self, index: int) -> ItemLook:
        """Return this call's look at one of the material's candidates."""
        shown = self.material.candidates
        return self.item_look(f"candidate:{index}", shown[index].reply, index, len(shown))

    def subject_look(self, place: Place) -> ItemLook | None:
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

    def reply_at(self, place: Place) -> str:
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
