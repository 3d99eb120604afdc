"""Reflection: repeated failings of candidates become guidelines for some turns.

Source: the reflections of LATS (arXiv 2310.04406) and Reflexion (arXiv 2303.11366). We
depart from both: no call is made for it. A guideline names the sub-score that fails and quotes
the judge's reason, cut short; both stay untrusted text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lats.answers import clean_text
from lats.search_knobs import ReflectionKnobs
from lats.search_tree import Candidate

__all__ = ["MAX_GUIDELINE_CHARS", "Guideline", "aged_guidelines", "reflect"]

MAX_GUIDELINE_CHARS = 200
"""Longest guideline, in characters."""

BAR = 0.3
"""A sub-score below this is a failure; for one where less is better, above 1 minus this."""

MIN_FAILURES = 3
"""Candidates that must fail in the same way first."""

MAX_GUIDELINES = 3
"""Most guidelines alive; the oldest give way."""


@dataclass(frozen=True, slots=True)
class Guideline:
    """A sub-score that failed repeatedly, and how, for the next proposals.

    `ttl_turns` are the turns that it still lives, this one included; at least 1. The text is
    untrusted.
    """

    attribute: str
    text: str
    ttl_turns: int


def aged_guidelines(guidelines: Iterable[Guideline]) -> tuple[Guideline, ...]:
    """Return the guidelines of the next turn: one turn older, expired ones left out."""
    older = (replace(each, ttl_turns=each.ttl_turns - 1) for each in guidelines)
    return tuple(each for each in older if each.ttl_turns > 0)


def _failures(
    nodes: Iterable[Candidate], weights: Mapping[str, float]
) -> dict[str, list[tuple[float, Candidate]]]:
    """Return the failing candidates by attribute, each with its goodness."""
    failures: dict[str, list[tuple[float, Candidate]]] = {}
    for node in nodes:
        if node.verdict is None:
            continue
        for name, value in node.verdict.attributes.items():
            goodness = 1 - value if weights.get(name, 1) < 0 else value
            if goodness < BAR:
                failures.setdefault(name, []).append((goodness, node))
    return failures


def _words(name: str, failing: Sequence[tuple[float, Candidate]]) -> str:
    worst = min(failing, key=lambda pair: (pair[0], pair[1].birth))[1]
    said = "" if worst.verdict is None else " ".join(worst.verdict.reason.split())
    label = name.replace("_", " ")
    if not said:
        return clean_text(f"{label}: mind it.", MAX_GUIDELINE_CHARS)
    begin = clean_text(f"{label}: {len(failing)} candidates failed:", MAX_GUIDELINE_CHARS)
    # Quoted, since a judge repeats what it reads, and no mark in it ends the quotation.
    said = clean_text(said.replace('"', "'"), max(MAX_GUIDELINE_CHARS - len(begin) - 3, 0))
    return f'{begin} "{said}"'


def reflect(
    nodes: Iterable[Candidate],
    alive: Sequence[Guideline],
    *,
    knobs: ReflectionKnobs,
    weights: Mapping[str, float],
) -> tuple[Guideline, ...]:
    """Return the guidelines after a round of judging, the oldest first.

    An attribute that failed often enough makes one, or renews the one that it has. A negative
    weight of an attribute means the less the better.
    """
    if not knobs.enabled:
        return tuple(alive)
    kept = {each.attribute: each for each in alive}
    for name, failing in sorted(_failures(nodes, weights).items()):
        if len(failing) >= MIN_FAILURES:
            kept.pop(name, None)
            kept[name] = Guideline(name, _words(name, failing), knobs.ttl_turns)
    return tuple(kept.values())[-MAX_GUIDELINES:]
