"""Chat bubbles of a reply, cut by rule, with typing delays. No model.

**Cutting.** Sentences are packed into bubbles of about `target` Latin letters each (a
wide character counts as `WIDE_LETTERS`), and a line break starts a new bubble:

    target = 60 * (1 + .6 (formality - .5) + .4 (verbosity - .5) - .4 (playfulness - .3))

When that gives more than `max_bubbles`, line breaks no longer count and the target
grows by a quarter until it does not. A sentence is never cut. A reply that is shown while it is
written cannot be cut so, and is cut from its beginning on (`cut_in_order`).

**Delay**, in seconds, rounded to hundredths, at least `MIN_DELAY_SECONDS` and at most
`MAX_DELAY_SECONDS`:

    delay = pause + letters / speed
    pause = .5 + busyness for the first bubble, .3 for each later one
    speed = 12 letters a second * (1 + .25 arousal) * (1 + .3 (.5 - formality))

People type 36 words a minute on a phone, 3 letters a second (K. Palin et al., How do
People Type on Mobile Devices?, MobileHCI 2019). That is too long to wait for a
machine, so ours types four times as fast.

Invariants, for any text: the bubbles join to it, white space aside; none is blank;
there are none only when the text is blank. Equal input gives equal bubbles.
"""

import re
from collections.abc import Sequence

from nodes.records import Bubble, Mood, StyleVector
from nodes.text import split_sentences, wide_count

__all__ = [
    "MAX_BUBBLES",
    "MAX_DELAY_SECONDS",
    "MIN_DELAY_SECONDS",
    "cut_in_order",
    "letters",
    "split_bubbles",
    "timed_bubbles",
]

MAX_BUBBLES = 4
MIN_DELAY_SECONDS = 0.4
MAX_DELAY_SECONDS = 6.0

WIDE_LETTERS = 2.5
"""Latin letters that typing one wide (Chinese, say) character is worth."""

TARGET_LETTERS = 60.0
LETTERS_PER_SECOND = 12.0

_JOINS_NEXT = re.compile(r"(?<!\S)(?:\d{1,2}|[A-Za-z]|Mrs?|Ms|Dr|Prof|St|vs|e\.g|i\.e)\.\s*$")
"""Endings with a full stop that end no sentence: a list number, an initial, a title."""

_STRANGER_MOOD = Mood()
_PLAIN_STYLE = StyleVector()


def letters(text: str) -> float:
    """Return the length of a text to type, in Latin letters; white space runs count once."""
    typed = " ".join(text.split())
    return len(typed) + wide_count(typed) * (WIDE_LETTERS - 1.0)


def _pieces(text: str) -> list[str]:
    """Return sentences that can be bubbles by themselves; they join to the text.

    Joined to the one before: marks and white space without a word. Joined to the one
    after: false sentence ends (`_JOINS_NEXT`), and marks at the very beginning.
    """
    groups: list[list[str]] = []
    is_open = False
    for sentence in split_sentences(text):
        has_word = any(mark.isalnum() for mark in sentence)
        if groups and (is_open or not has_word):
            groups[-1].append(sentence)
        else:
            groups.append([sentence])
        starts_with_marks = len(groups) == 1 and not has_word and len(groups[0]) == 1
        is_open = starts_with_marks or _JOINS_NEXT.search(sentence) is not None
    return ["".join(group) for group in groups]


def _packed(pieces: Sequence[str], target: float, *, breaks_lines: bool) -> list[str]:
    """Return the pieces packed in order, each bubble at most `target` if a piece allows."""
    groups: list[list[str]] = []
    left = 0.0
    ends_line = False
    for piece in pieces:
        size = letters(piece)
        if not groups or size > left or (ends_line and breaks_lines):
            groups.append([piece])
            left = target - size
        else:
            groups[-1].append(piece)
            left -= size
        ends_line = "\n" in piece[len(piece.rstrip()) :]
    return ["".join(group) for group in groups]


def timed_bubbles(
    texts: Sequence[str], *, style: StyleVector = _PLAIN_STYLE, mood: Mood = _STRANGER_MOOD
) -> tuple[Bubble, ...]:
    """Return texts as bubbles with delays, in order. Blank ones are left out.

    Args:
        style: a formal writer types more slowly.
        mood: the agent's mood; a busy one starts later, a stirred one types faster.
    """
    speed = LETTERS_PER_SECOND * (1.0 + 0.25 * mood.arousal) * (1.0 + 0.3 * (0.5 - style.formality))
    bubbles: list[Bubble] = []
    for text in texts:
        if not text.strip():
            continue
        pause = 0.3 if bubbles else 0.5 + mood.busyness
        delay = min(max(pause + letters(text) / speed, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS)
        bubbles.append(Bubble(text=text.strip(), delay_seconds=round(delay, 2)))
    return tuple(bubbles)


def _target(style: StyleVector) -> float:
    """Return the letters of a bubble, see the head of this file."""
    return TARGET_LETTERS * (
        1.0
        + 0.6 * (style.formality - 0.5)
        + 0.4 * (style.verbosity - 0.5)
        - 0.4 * (style.playfulness - 0.3)
    )


def cut_in_order(
    text: str,
    *,
    is_whole: bool,
    style: StyleVector = _PLAIN_STYLE,
    max_bubbles: int = MAX_BUBBLES,
) -> list[str]:
    """Return the texts of a reply's bubbles, cut from its beginning on.

    The bubbles of a beginning are the first ones of the whole, so that they can be shown while
    the rest is written: the last of `max_bubbles` takes all that is left. For replies that fit
    `max_bubbles` they are those of `split_bubbles`.

    Args:
        is_whole: whether the text is all of the reply; of a beginning, the bubbles that no
            further text changes.
        max_bubbles: most bubbles; at least 1.
    """
    if not is_whole:
        # Marks alone belong to the piece before them until a word follows: that piece is measured
        # without them, since it is no longer than this. The last piece has not ended.
        *ended, last = split_sentences(text) or [""]
        text = "".join(ended if not any(mark.isalnum() for mark in last) else [*ended, last])
    packed = _packed(_pieces(text), _target(style), breaks_lines=True)
    if not is_whole:
        return packed[:-1][: max_bubbles - 1]
    first = packed[: max_bubbles - 1]
    rest = "".join(packed[max_bubbles - 1 :])
    return [*first, rest] if rest else first


def split_bubbles(
    text: str,
    *,
    style: StyleVector = _PLAIN_STYLE,
    mood: Mood = _STRANGER_MOOD,
    max_bubbles: int = MAX_BUBBLES,
) -> tuple[Bubble, ...]:
    """Return a reply as chat bubbles with typing delays.

    Args:
        max_bubbles: most bubbles; at least 1.

    Raises:
        ValueError: when `max_bubbles` is below 1.
    """
    if max_bubbles < 1:
        raise ValueError(f"max_bubbles is at least 1, got {max_bubbles}")
    pieces = _pieces(text)
    target = _target(style)
    packed = _packed(pieces, target, breaks_lines=True)
    if len(packed) > max_bubbles:
        # No bubble is longer than the whole, so this ends.
        target = max(target, letters(text) / max_bubbles)
        packed = _packed(pieces, target, breaks_lines=False)
    while len(packed) > max_bubbles:
        target *= 1.25
        packed = _packed(pieces, target, breaks_lines=False)
    return timed_bubbles(packed, style=style, mood=mood)
