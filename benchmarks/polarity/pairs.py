"""Pairs of messages, written for this benchmark: 500 that need different answers, 150 paraphrases.

`different.jsonl`: pairs with nearly the same words that need different answers, half of them
English and half Chinese. The last 50 of each language are held out: faults of the gate are mended
on the others first. `same.jsonl`: pairs that one answer serves, from another punctuation to free
wording.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["DIFFERENT_KINDS", "SAME_KINDS", "Pair", "different_pairs", "same_pairs"]

FOLDER = Path(__file__).parent

DIFFERENT_KINDS = {
    "negation": "said and denied",
    "implicit_negation": "denied by a verb or adverb, or twice",
    "number": "numbers, also as words and in full width",
    "unit": "units",
    "name": "names of persons, places, works and products",
    "role_swap": "who does it, and who is affected",
    "antonym": "opposites",
    "quantifier": "all, some, none; at least, at most",
    "modality": "may, must; did, will",
    "comparison": "direction of a comparison",
    "time": "dates, times, before and after",
    "condition": "if, unless, although",
    "scope": "only, except, even, still",
    "form": "articles, marks, capitals and particles that change the sense",
}
"""Kinds of pairs that need different answers."""

SAME_KINDS = {
    "punctuation": "marks, capitals, width of digits",
    "politeness": "requests and greetings",
    "contraction": "English contractions",
    "particle": "Chinese particles",
    "synonym": "other words for the same",
    "order": "another order of words",
    "free": "free wording",
}
"""Kinds of paraphrases."""


class Pair(NamedTuple):
    """Two messages, the second asked after the first.

    Args:
        language: `en` or `zh`.
        is_held_out: whether no rule of the gate was made on it before it was first run.
    """

    language: str
    kind: str
    first: str
    second: str
    is_held_out: bool = False


def different_pairs() -> Sequence[Pair]:
    """Return pairs that need different answers."""
    return _pairs("different.jsonl")


def same_pairs() -> Sequence[Pair]:
    """Return paraphrases."""
    return _pairs("same.jsonl")


def _pairs(name: str) -> Sequence[Pair]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [
        Pair(
            each["language"],
            each["kind"],
            each["first"],
            each["second"],
            each.get("part") == "held_out",
        )
        for each in map(json.loads, lines)
    ]
