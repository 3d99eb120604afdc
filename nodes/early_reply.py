"""Bubbles of a reply that are shown while the call that writes it is answered.

A bubble is shown when nothing that may still come changes it:

1. the answer so far begins as the form of the call has it: one object, the thought or nothing
   before the reply, and no sign that JSON does not allow. Of a text that was cut, the last
   character that is not whole is left out;
2. the bubble has ended: the sentence after it has begun, and does not fit it any more
   (`bubbles.cut_in_order`);
3. the reply up to its end passes the final validation unchanged.

These are functions of the answer's text that only ever add bubbles as it grows, so the pieces
in which it comes do not matter, and a replay, which has the whole text, finds the same bubbles.

Whatever comes later does not take a shown bubble back: where the rest of the answer cannot be
read, breaks off or would make another reply of it (a tag that makes thoughts of all before it),
the reply is the bubbles that were shown, and the turn's record has it as a violation
(`shown_before`) or as a degradation.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from callwise.calls.call import CallEnd
from callwise.calls.pieces import Piece
from lats.answers import MAX_REPLY_CHARS, clean_text
from nodes.bubbles import MAX_BUBBLES, cut_in_order, split_bubbles, timed_bubbles
from nodes.final_validator import ValidatedReply, validate_reply
from nodes.records import Bubble, Language, Mood, Persona, StyleVector

__all__ = ["EarlyReply", "reply_so_far", "text_of", "with_shown"]

# A string's text as JSON has it, without what a cut may have left incomplete at its end.
_STRING = (
    r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"
)
_REPLY = re.compile(
    rf'\s*+\{{\s*+(?:"thought"\s*+:\s*+"{_STRING}"\s*+,\s*+)?"reply"\s*+:\s*+"(?P<reply>{_STRING})'
)


def reply_so_far(answer: str) -> str:
    """Return the reply in the beginning of an answer; empty where it has none or another form.

    Args:
        answer: the text of the answer so far. Untrusted.
    """
    found = _REPLY.match(answer)
    text = "" if found is None else str(from_json(f'"{found["reply"]}"'))
    return clean_text(text, MAX_REPLY_CHARS)


def text_of(bubbles: Sequence[Bubble]) -> str:
    """Return bubbles as one text."""
    return "\n".join(bubble.text for bubble in bubbles)


@dataclass(slots=True)
class EarlyReply:
    """The listener of a call that replies: it shows bubbles while the answer arrives.

    Args:
        style: that of the turn; with the mood it decides where the reply is cut.
        instructions: texts that the reply must not quote.
        max_chars: longest reply, in characters.
        show: called with all bubbles so far whenever there are more.
    """

    language: Language
    persona: Persona
    style: StyleVector
    mood: Mood
    instructions: Sequence[str]
    max_chars: int
    show: Callable[[Sequence[Bubble]], None]
    bubbles: tuple[Bubble, ...] = ()

    def read(self, text: str) -> bool:
        """Take the answer so far, show what is new in it, and return whether anything is shown."""
        texts = cut_in_order(reply_so_far(text), is_whole=False, style=self.style)
        while len(self.bubbles) < len(texts) and self._passes(texts[: len(self.bubbles) + 1]):
            shown = texts[: len(self.bubbles) + 1]
            self.bubbles = timed_bubbles(shown, style=self.style, mood=self.mood)
            self.show(self.bubbles)
        return bool(self.bubbles)

    def _passes(self, texts: Sequence[str]) -> bool:
        """Return whether a beginning of the reply passes the final validation as it is."""
        text = "".join(texts).strip()
        if len("\n".join(each.strip() for each in texts)) > self.max_chars:
            return False
        validated = validate_reply(
            text,
            language=self.language,
            persona=self.persona,
            instructions=self.instructions,
            max_chars=self.max_chars,
        )
        return not validated.violations and validated.text == text

    def on_piece(self, piece: Piece) -> None:
        """Do nothing: it reads whole beginnings of the answer."""

    def on_end(self, end: CallEnd) -> None:
        """Do nothing: the answer is read when it is returned."""


def with_shown(validated: ValidatedReply, shown: Sequence[Bubble]) -> ValidatedReply:
    """Return a reply whose first bubbles are those that were shown.

    A reply that does not begin with them is replaced by them, and `shown_before` is one of its
    violations.
    """
    shown = tuple(shown)
    if validated.bubbles[: len(shown)] == shown:
        return validated
    rest = _after(validated.text, "".join(bubble.text for bubble in shown))
    if rest is None:
        violations = (*validated.violations, "shown_before")
        return ValidatedReply(text=text_of(shown), bubbles=shown, violations=violations)
    further = split_bubbles(rest, max_bubbles=MAX_BUBBLES - len(shown))
    return validated.model_copy(update={"bubbles": (*shown, *further)})


def _after(text: str, beginning: str) -> str | None:
    """Return a text after its beginning, white space aside; None where it begins otherwise."""
    place = 0
    for char in beginning:
        if char.isspace():
            continue
        while place < len(text) and text[place].isspace():
            place += 1
        if not text.startswith(char, place):
            return None
        place += 1
    return text[place:]
