"""Memory manager: the summary carried on, and notes with proof. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | remember | 0 | 900 |

A note is kept only with its proof: `evidence` must stand, character for character, in
this turn's message or reply, be long enough to be no chance, and have words of the note in
it: words of the user's that say something else prove nothing. All that is taken off it first
is white space around it and one pair of matching quotes. What is not kept is counted, and why.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from nodes.answer import Answer, Text
from nodes.memory_rules import remember_by_rules
from nodes.question import BOOKKEEPING_LEASE, Question, Tokens
from nodes.records import (
    NoteDraft,
    Record,
)
from nodes.turn import TurnView
from turnwise.calls import Purpose, Role, Sampling
from turnwise.memory.terms import query_weights

__all__ = [
    "MAX_NOTES",
    "MAX_NOTE_CHARS",
    "MIN_EVIDENCE_SIZE",
    "REMEMBERING",
    "DropReason",
    "MemoryAnswer",
    "MemoryUpdate",
    "NoteAnswer",
    "check_notes",
]

MAX_NOTES = 6
"""Most notes kept of one turn; the first ones are."""

MAX_NOTE_CHARS = 300
"""Longest note, in characters: one sentence."""

MIN_EVIDENCE_SIZE = 6
"""Shortest evidence, in letters and digits, of which one of a wide script counts as two:
two short words, or three Chinese characters. Less stands nearly everywhere."""

MIN_SUPPORT = 0.25
"""Least share of the words of a note, or of its evidence where it has fewer, that both have."""

DropReason = Literal[
    "blank", "too_long", "too_short", "not_verbatim", "unsupported", "duplicate", "too_many"
]
NoteKind = Literal["fact", "preference", "event", "promise", "boundary"]

_QUOTES = (("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ('"', '"'), ("'", "'"), ("«", "»"))


class MemoryUpdate(Record):
    """What memory gains from one turn."""

    summary: str = ""
    """The whole conversation so far, this turn included."""
    notes: tuple[NoteDraft, ...] = ()
    dropped_notes: int = Field(default=0, ge=0)
    """Notes that the model wrote and that were not kept."""
    dropped_reasons: tuple[DropReason, ...] = ()
    """Why, one a dropped note, in the order of the answer."""


class NoteAnswer(Answer):
    """One note as the model wrote it, unproved. An unknown kind is a fact."""

    text: Text = ""
    kind: NoteKind = "fact"
    evidence: Text = ""


class MemoryAnswer(Answer):
    """What the model answers. `summary` must be there; notes may be none."""

    summary: Text
    notes: list[NoteAnswer] = Field(default_factory=list)

    def update(self, view: TurnView) -> MemoryUpdate:
        """Return what memory gains: the answer's summary, and those of its notes with proof.

        A blank summary does not replace the one by rules.
        """
        notes, dropped = check_notes(self.notes, user_text=view.user_text, reply=view.reply)
        return MemoryUpdate(
            summary=self.summary or _by_rules(view).summary,
            notes=notes,
            dropped_notes=len(dropped),
            dropped_reasons=dropped,
        )


def _by_rules(view: TurnView) -> MemoryUpdate:
    summary, notes = remember_by_rules(
        user_text=view.user_text, reply=view.reply, summary=view.summary, language=view.language
    )
    return MemoryUpdate(summary=summary, notes=notes)


def _proved(evidence: str, sources: Sequence[str]) -> str | None:
    """Return the evidence as it stands in a source, or None when it does not."""
    bare = evidence.strip()
    forms = [bare]
    for opening, closing in _QUOTES:
        if len(bare) > 1 and bare.startswith(opening) and bare.endswith(closing):
            forms.append(bare[1:-1].strip())
            break
    found = (form for form in forms if any(form in source for source in sources))
    return next((form for form in found if form), None)


def _size(evidence: str) -> int:
    """Return how much a text says, in letters and digits; see `MIN_EVIDENCE_SIZE`."""
    return sum(
        2 if unicodedata.east_asian_width(mark) in "WF" else 1
        for mark in evidence
        if mark.isalnum()
    )


def _scripts(text: str) -> set[str]:
    """Return the scripts of a text's letters, as Unicode names them, and `0` for digits."""
    marks = {mark for mark in text if mark.isalnum()}
    return {"0" if mark.isdigit() else unicodedata.name(mark, "").split(" ")[0] for mark in marks}


def _supports(evidence: str, text: str) -> bool:
    """Return whether evidence and note have words in common, small words left out.

    One word, or one pair of Chinese characters, is the least. A note in another script than
    its evidence can have none; there the evidence has to be twice as long.
    """
    if not _scripts(evidence) & _scripts(text):
        return _size(evidence) >= 2 * MIN_EVIDENCE_SIZE
    proof, note = query_weights(evidence), query_weights(text)
    common = math.fsum(weight for term, weight in note.items() if term in proof)
    least = MIN_SUPPORT * min(math.fsum(proof.values()), math.fsum(note.values()))
    return common >= max(least, 1.0)


def check_notes(
    notes: Sequence[NoteAnswer], *, user_text: str, reply: str
) -> tuple[tuple[NoteDraft, ...], tuple[DropReason, ...]]:
    """Return the notes that their evidence proves, and why each of the others fell.

    Args:
        notes: as the model wrote them.
        user_text: the turn's message, whole.
        reply: the turn's reply, whole.
    """
    kept: dict[str, NoteDraft] = {}
    dropped: list[DropReason] = []
    for note in notes:
        evidence = _proved(note.evidence, (user_text, reply))
        if not note.text:
            dropped.append("blank")
        elif len(note.text) > MAX_NOTE_CHARS:
            dropped.append("too_long")
        elif _size(note.evidence if evidence is None else evidence) < MIN_EVIDENCE_SIZE:
            dropped.append("too_short")
        elif evidence is None:
            dropped.append("not_verbatim")
        elif not _supports(evidence, note.text):
            dropped.append("unsupported")
        elif note.text.casefold() in kept:
            dropped.append("duplicate")
        elif len(kept) == MAX_NOTES:
            dropped.append("too_many")
        else:
            kept[note.text.casefold()] = NoteDraft(
                text=note.text, kind=note.kind, evidence=evidence
            )
    return tuple(kept.values()), tuple(dropped)


REMEMBERING = Question(
    node="memory_manager",
    role=Role.FAST,
    purpose=Purpose.REMEMBER,
    prompt="memory_manager",
    answer=MemoryAnswer,
    fields=("persona", "chat"),
    sampling=Sampling(temperature=0.0, max_tokens=900),
    tokens=Tokens(850, 200),
    convert=lambda answer, view: answer.update(view),
    fallback=_by_rules,
    # The whole of it, which it carries on, where others see what `chat` does not show.
    asked=lambda view: {"summary": view.summary},
    lease=BOOKKEEPING_LEASE,
)
