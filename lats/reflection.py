"""Reflection: what candidates keep getting wrong becomes a guideline that lives a while.

Source: the reflections of LATS (arXiv 2310.04406) and Reflexion (arXiv 2303.11366). We
depart from both: no call is made for it. The judge's own sub-scores say what fails, and
its own words, cut short, say how; both stay untrusted text.
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
    """What to do better next time.

    Args:
        attribute: name of the sub-score that failed.
        text: what to mind. Untrusted.
        ttl_turns: turns that it still lives, this one included; at least 1.
    """

    attribute: str
    text: str
    ttl_turns: int


def aged_guidelines(guidelines: Iterable[Guideline]) -> tuple[Guideline, ...]:
    """Return the guidelines as the next turn finds them: a turn older, the dead ones gone."""
    older = (replace(each, ttl_turns=each.ttl_turns - 1) for each in guidelines)
    return tuple(each for each in older if each.ttl_turns > 0)


def _failures(
    nodes: Iterable[Candidate], weights: Mapping[str, float]
) -> dict[str, list[tuple[float, Candidate]]]:
    """Return the failing candidates by attribute, each with how good it was."""
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
    """Return the guidelines after a round of judging.

    An attribute that failed often enough makes one, or renews the one that it has.

    Args:
        nodes: all candidates.
        alive: guidelines so far, the oldest first.
        knobs: when failures are repeated enough.
        weights: of the attributes; a negative one means the less the better.
    """
    if not knobs.enabled:
        return tuple(alive)
    kept = {each.attribute: each for each in alive}
    for name, failing in sorted(_failures(nodes, weights).items()):
        if len(failing) >= MIN_FAILURES:
            kept.pop(name, None)
            kept[name] = Guideline(name, _words(name, failing), knobs.ttl_turns)
    return tuple(kept.values())[-MAX_GUIDELINES:]
