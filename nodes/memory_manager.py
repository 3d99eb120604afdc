"""Memory manager: the continued summary, and notes with proof. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | remember | 0 | 900 |

A note is kept only with its proof: `evidence` must be, character for character, in
this turn's message or reply, be too long for a chance match, and share words with the note:
words of the user about something else prove nothing. White space around it and one pair of
matching quotes are removed first. Notes that are not kept are counted, with the reason.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from callwise.calls import Purpose, Role, Sampling
from callwise.calls.payload import well_formed
from callwise.memory.lexical_index import query_weights
from nodes.prompt import MAX_CHARS, clip, words
from nodes.question import BOOKKEEPING_LEASE, AnswerForm, Question, Text, Tokens
from nodes.records import FrozenRecord, Language, NoteDraft, NoteKind
from nodes.text import split_sentences, text_size
from nodes.turn import TurnView

__all__ = [
    "MAX_NOTES",
    "MAX_NOTE_CHARS",
    "MAX_RULE_NOTES",
    "MAX_SUMMARY_CHARS",
    "MIN_EVIDENCE_SIZE",
    "REMEMBERING",
    "DropReason",
    "MemoryAnswer",
    "MemoryUpdate",
    "NoteAnswer",
    "check_notes",
    "remember_by_rules",
]

MAX_SUMMARY_CHARS = 1200
"""Longest summary that rules write, in characters; its oldest lines go first."""

MAX_LINE_CHARS = 80
"""Longest part of a message and of a reply in a line of the summary, in characters."""

MAX_RULE_NOTES = 3
"""Most notes of one message."""

MAX_RULE_NOTE_CHARS = 160
"""Longest sentence that becomes a note; a longer one contains too much."""


def _notes(user_text: str) -> tuple[NoteDraft, ...]:
    notes: dict[str, NoteDraft] = {}
    for sentence in split_sentences(user_text[: MAX_CHARS["user_text"]]):
        said = sentence.strip()
        if len(said) > MAX_RULE_NOTE_CHARS or said.endswith(("?", "？")):
            continue
        if said != well_formed(said):
            continue  # such a note could not be written to disk
        known = words("statements").items()
        found = (kind for kind, form in known if re.search(form, said, re.IGNORECASE))
        kind = next(found, None)
        if kind is not None:
            notes.setdefault(said, NoteDraft(text=said, kind=kind, evidence=said))
    return tuple(notes.values())[:MAX_RULE_NOTES]


def _line(user_text: str, reply: str, language: Language) -> str:
    said, answered = (
        clip(" ".join(well_formed(text).split()), MAX_LINE_CHARS) for text in (user_text, reply)
    )
    if language == "zh":
        return f"对方：“{_unquoted(said, '“”')}”；我：“{_unquoted(answered, '“”')}”"
    return f'User: "{_unquoted(said, chr(34))}" | Me: "{_unquoted(answered, chr(34))}"'


def _unquoted(text: str, marks: str) -> str:
    """Return a text for between quotation marks, which no mark in it can end."""
    return "".join("'" if char in marks else char for char in text)


def remember_by_rules(
    *, user_text: str, reply: str, summary: str, language: Language
) -> tuple[str, tuple[NoteDraft, ...]]:
    """Return the summary with this turn's line added, and the notes of plain statements.

    Args:
        summary: so far; the result has at most `MAX_SUMMARY_CHARS`.
    """
    lines = [*summary.splitlines(), _line(user_text, reply, language)]
    carried = "\n".join(line for line in lines if line.strip())
    while len(carried) > MAX_SUMMARY_CHARS and "\n" in carried:
        carried = carried.partition("\n")[2]
    return clip(carried, MAX_SUMMARY_CHARS), _notes(user_text)


MAX_NOTES = 6
"""Most notes kept of one turn; the first ones are."""

MAX_NOTE_CHARS = 300
"""Longest note, in characters: one sentence."""

MIN_EVIDENCE_SIZE = 6
"""Shortest evidence, in letters and digits, of which one of a wide script counts as two:
two short words, or three Chinese characters. Less is found nearly everywhere."""

MIN_SUPPORT = 0.25
"""Least share of the words of a note, or of its evidence where it has fewer, that both have."""

DropReason = Literal[
    "blank", "too_long", "too_short", "not_verbatim", "unsupported", "duplicate", "too_many"
]

_QUOTES = (("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ('"', '"'), ("'", "'"), ("«", "»"))


class MemoryUpdate(FrozenRecord):
    """The additions of one turn to memory."""

    summary: str = ""
    """The whole conversation so far, this turn included."""
    notes: tuple[NoteDraft, ...] = ()
    dropped_notes: int = Field(default=0, ge=0)
    """Notes that the model wrote and that were not kept."""
    dropped_reasons: tuple[DropReason, ...] = ()
    """A reason per dropped note, in the order of the answer."""


class NoteAnswer(AnswerForm):
    """One note as the model wrote it, unproved. An unknown kind is a fact."""

    text: Text = ""
    kind: NoteKind = "fact"
    evidence: Text = ""


class MemoryAnswer(AnswerForm):
    """The model's answer. `summary` is required; there may be no notes."""

    summary: Text
    notes: list[NoteAnswer] = Field(default_factory=list)

    def update(self, view: TurnView) -> MemoryUpdate:
        """Return the additions to memory: the answer's summary, and those of its notes with proof.

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
    """Return the evidence as it is found in a source, or None when it is in none."""
    bare = evidence.strip()
    forms = [bare]
    for opening, closing in _QUOTES:
        if len(bare) > 1 and bare.startswith(opening) and bare.endswith(closing):
            forms.append(bare[1:-1].strip())
            break
    found = (form for form in forms if any(form in source for source in sources))
    return next((form for form in found if form), None)


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
        return text_size(evidence) >= 2 * MIN_EVIDENCE_SIZE
    proof, note = query_weights(evidence), query_weights(text)
    common = math.fsum(weight for term, weight in note.items() if term in proof)
    least = MIN_SUPPORT * min(math.fsum(proof.values()), math.fsum(note.values()))
    return common >= max(least, 1.0)


def check_notes(
    notes: Sequence[NoteAnswer], *, user_text: str, reply: str
) -> tuple[tuple[NoteDraft, ...], tuple[DropReason, ...]]:
    """Return the notes that their evidence proves, and why each of the others was dropped."""
    kept: dict[str, NoteDraft] = {}
    dropped: list[DropReason] = []
    for note in notes:
        evidence = _proved(note.evidence, (user_text, reply))
        if not note.text:
            dropped.append("blank")
        elif len(note.text) > MAX_NOTE_CHARS:
            dropped.append("too_long")
        elif text_size(note.evidence if evidence is None else evidence) < MIN_EVIDENCE_SIZE:
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
    # The whole summary, which it continues; others see what `chat` does not show.
    asked=lambda view: {"summary": view.summary},
    lease=BOOKKEEPING_LEASE,
)
