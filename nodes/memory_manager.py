"""Memory manager: the summary carried on, and notes with proof. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | remember | 0 | 900 |

A note is kept only with its proof: `evidence` must stand, character for character, in
this turn's message or reply. All that is taken off it first is white space around it
and one pair of matching quotes. What is not kept is counted, and why.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from nodes.answer import Answer, Text
from nodes.memory_rules import remember_by_rules
from nodes.prompt import lines_shown
from nodes.question import Question
from nodes.records import (
    Degradation,
    Language,
    Line,
    NoteDraft,
    Persona,
    Record,
)
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = [
    "MAX_NOTES",
    "MIN_EVIDENCE_CHARS",
    "DropReason",
    "MemoryAnswer",
    "MemoryUpdate",
    "NoteAnswer",
    "check_notes",
    "remember",
]

MAX_NOTES = 6
"""Most notes kept of one turn; the first ones are."""

MIN_EVIDENCE_CHARS = 2
"""Shortest evidence: one character stands nearly everywhere and proves nothing."""

DropReason = Literal["blank", "too_short", "not_verbatim", "duplicate", "too_many"]
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

    def update(self, *, user_text: str, reply: str, carried: str) -> MemoryUpdate:
        """Return what memory gains from the answer: its summary, and the notes with proof.

        Args:
            user_text: the turn's message, whole.
            reply: the turn's reply, whole.
            carried: the summary by rules, which a blank one must not replace.
        """
        notes, dropped = check_notes(self.notes, user_text=user_text, reply=reply)
        return MemoryUpdate(
            summary=self.summary or carried,
            notes=notes,
            dropped_notes=len(dropped),
            dropped_reasons=dropped,
        )


QUESTION = Question(
    node="memory_manager",
    role=Role.FAST,
    purpose=Purpose.REMEMBER,
    answer=MemoryAnswer,
    sampling=Sampling(temperature=0.0, max_tokens=900),
)


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
        elif len(note.evidence.strip()) < MIN_EVIDENCE_CHARS:
            dropped.append("too_short")
        elif evidence is None:
            dropped.append("not_verbatim")
        elif len(evidence) < MIN_EVIDENCE_CHARS:
            dropped.append("too_short")
        elif note.text.casefold() in kept:
            dropped.append("duplicate")
        elif len(kept) == MAX_NOTES:
            dropped.append("too_many")
        else:
            kept[note.text.casefold()] = NoteDraft(
                text=note.text, kind=note.kind, evidence=evidence
            )
    return tuple(kept.values()), tuple(dropped)


async def remember(
    asker: Asker,
    *,
    language: Language,
    user_text: str,
    reply: str,
    history: Sequence[Line] = (),
    persona: Persona,
    summary: str = "",
) -> tuple[MemoryUpdate, Degradation | None]:
    """Return what memory gains from the turn, and why rules found it if they did.

    Args:
        asker: who reaches the model.
        language: language of the prompt, the summary and the notes.
        user_text: the message, whole. Untrusted.
        reply: what the agent answered, whole.
        history: the lines before both, oldest first.
        persona: who the agent is.
        summary: the summary so far; blank when there is none.

    Raises:
        CallError: a fatal one.
    """
    carried, notes = remember_by_rules(
        user_text=user_text, reply=reply, summary=summary, language=language
    )
    return await QUESTION.ask(
        asker,
        language,
        {
            "persona": persona,
            "chat": lines_shown(history, user_text, reply),
            "summary": summary,
        },
        convert=lambda answer: answer.update(user_text=user_text, reply=reply, carried=carried),
        fallback=lambda: MemoryUpdate(summary=carried, notes=notes),
    )
