"""Replies of the simulated model: drawn, varied, refined and cut into bubbles.

How good they are on average follows from how phrases are drawn: at random a reply has
quality 0 and SD 1; candidates of one call share a phrase with a common base with
probability sqrt(similarity), so that their qualities correlate by `similarity`; a
child is the nearest of a few changed copies of its parent to a drawn target.
"""

import math
import re

from turnwise.calls.simulated.draws import Draws
from turnwise.calls.simulated.quality import BANKS, SLOTS, Phrase, PhraseBook

__all__ = ["Draft", "compose", "fragment_of", "refine", "render", "sentences_of", "vary"]

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


def fragment_of(user_text: str, language: str, draws: Draws) -> str | None:
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


def _draw_slot(book: PhraseBook, language: str, slot: int, draws: Draws) -> Phrase | None:
    if not draws.chance(SLOTS[slot][1]):
        return None
    return draws.pick(book.slots[language][slot])


def compose(book: PhraseBook, language: str, draws: Draws) -> Draft:
    """Return a reply drawn at random: quality 0 on average, SD 1."""
    return tuple(_draw_slot(book, language, slot, draws) for slot in range(len(SLOTS)))


def vary(book: PhraseBook, language: str, base: Draft, *, similarity: float, draws: Draws) -> Draft:
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


def _changed(book: PhraseBook, language: str, parent: Draft, draws: Draws) -> Draft:
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
    draws: Draws,
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
    bank = BANKS[language]
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
