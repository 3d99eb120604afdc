"""Ranking of candidates: the search's answer, its rivals, and how sure the search is.

Judging by agreement: where answers can be checked, the largest cluster that passes wins.
Candidates that pass the same checks and give the same answer form a cluster; a cluster's
worth is its size times the checks that it passes. A wrong check splits off few candidates, or
many at random; a wrong candidate is wrong in a way that others are not.

Source: CodeT (arXiv 2207.10397), dual execution agreement, with the number of candidates
itself rather than its root. Without checks it is self-consistency (arXiv 2203.11171).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter

from lats.answers import Draft
from lats.gain import chance_best
from lats.posterior import belief, posterior_means
from lats.result import Confidence
from lats.search_state import SearchState
from lats.search_tree import Candidate

__all__ = [
    "FRONT",
    "TieBreak",
    "agreement_scores",
    "answers",
    "confidence",
    "is_judged",
    "leading",
    "note_front",
    "open_leading",
    "ranked",
]


def agreement_scores(nodes: Sequence[Candidate]) -> dict[str, float]:
    """Return each candidate's share of all clusters' worth, by id, in [0, 1].

    Candidates of one cluster share a score. One that no call has read is in no cluster and
    gets 0.
    """
    scores: dict[str, float] = {node.node_id: 0.0 for node in nodes}
    signatures = {
        node.node_id: (node.verdict.answer, frozenset(n for n, ok in node.checks.items() if ok))
        for node in nodes
        if node.verdict is not None
    }
    has_checks = any(node.checks for node in nodes if node.verdict is not None)
    worth = {
        signature: size * (len(signature[1]) if has_checks else 1)
        for signature, size in Counter(signatures.values()).items()
    }
    if total := sum(worth.values()):
        scores.update((each, worth[signature] / total) for each, signature in signatures.items())
    return scores


TieBreak = Callable[[str], float]
"""A reply's text -> a figure that decides between equals, the higher the better. Pure."""

FRONT = 12
"""Candidates that the front keeps."""

RANKED_WHOLE = 24
"""Candidates up to which each round ranks all of them."""

MEAN_DIGITS = 9
"""Digits of a posterior mean that decide; the others are rounding errors of sums."""

MAX_RIVALS = 32
"""Leading candidates that a confidence is computed over."""


def answers(state: SearchState) -> list[Candidate]:
    """Return the candidates that may be the answer.

    All of them where there are only steps. Refuted ones where there is nothing else.
    """
    every = list(state.tree.candidates)
    if state.task.has_verifier:
        every = [node for node in every if node.draft.verified is not False] or every
    if not state.progress.has_steps:
        return every
    return [node for node in every if not node.draft.is_step] or every


def is_judged(node: Candidate) -> bool:
    """Return whether a candidate has a usable verdict."""
    verdict = node.verdict
    return (
        node.score_count > 0 or bool(node.checks) or (verdict is not None and verdict.answer != "")
    )


def _lot_factor(seed: int) -> int:
    """Return an odd number of 64 bits that follows from a seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}".encode(), digest_size=8).digest()) | 1


def _lot(node: Candidate, factor: int) -> int:
    """Return a node's lot: its id is a digest, and a seed's factor reorders digests."""
    return int(node.node_id, 16) * factor % (1 << 64)


def ranked(
    state: SearchState, nodes: list[Candidate], *, tie_break: TieBreak | None = None
) -> list[Candidate]:
    """Return candidates, the one to answer with first.

    The best posterior mean is first (under agreement: the most worthy cluster; in a knock-out:
    its winner); equals are ordered by `tie_break`, then by a lot drawn from the seed, since a
    proposer's first candidate is no better than its last. Candidates that have no usable verdict
    come last: to believe their prior would prefer an unread candidate to one that was judged
    average. A verifier's results go before all of this: refuted ones are last, and those that
    passed more of its checks go before others.
    """
    agreed = agreement_scores(nodes) if state.knobs.judging == "agreement" else {}
    champion, factor = state.progress.champion, _lot_factor(state.knobs.seed)

    def key(node: Candidate, mean: float) -> tuple[bool, bool, float, float, float, int]:
        judged = is_judged(node)
        return (
            not judged,
            node.node_id != champion,
            -agreed.get(node.node_id, 0.0),
            -round(mean, MEAN_DIGITS) if judged else -0.0,
            0.0 if tie_break is None else -tie_break(node.draft.reply),
            _lot(node, factor),
        )

    means = posterior_means(nodes, state.noise)
    keyed = [(key(node, mean), node) for node, mean in zip(nodes, means, strict=True)]
    order = [node for _, node in sorted(keyed)]
    if state.task.has_verifier:
        order.sort(key=lambda node: _verified_rank(node.draft))
    return order


def _verified_rank(draft: Draft) -> tuple[bool, bool, float]:
    """Return a sort key: right ones, then those that passed most checks, then refuted ones."""
    return draft.verified is False, draft.verified is not True, -(draft.passed or 0.0)


def note_front(state: SearchState, changed: list[Candidate]) -> None:
    """Keep the front up to date after candidates' own values changed."""
    front = state.progress.front
    known = [*state.nodes(front), *[node for node in changed if node.node_id not in front]]
    best_first = [(-(node.own_value or 0.0), node.birth, node.node_id) for node in known]
    best_first.sort()
    state.progress.front = [node_id for _, _, node_id in best_first[:FRONT]]


def leading(state: SearchState, count: int) -> list[Candidate]:
    """Return the leading judged candidates, the best first, at most `count`; equals by lot.

    Where there are many candidates only those with the best own values are ranked, so that
    a round costs the same however large the tree is.
    """
    if len(state.tree) > RANKED_WHOLE:
        judged = state.nodes(state.progress.front)
    else:
        judged = [node for node in state.tree.candidates if is_judged(node)]
    is_by_mean = state.progress.champion is None and not state.task.has_verifier
    if state.knobs.judging == "agreement" or not is_by_mean:
        return ranked(state, judged)[:count]
    means = [round(mean, MEAN_DIGITS) for mean in posterior_means(judged, state.noise)]
    if len(set(means)) == len(means):
        pairs = sorted(zip(means, judged, strict=True), key=itemgetter(0), reverse=True)
        return [node for _, node in pairs[:count]]
    factor = _lot_factor(state.knobs.seed)
    best_first = [
        (-mean, _lot(node, factor), node) for mean, node in zip(means, judged, strict=True)
    ]
    best_first.sort()
    return [node for _, _, node in best_first[:count]]


def open_leading(state: SearchState, count: int) -> list[Candidate]:
    """Return the leading judged candidates that may be improved on, at most `count`."""
    known = [node for node in leading(state, count) if not node.is_closed]
    if known:
        return known
    judged = [node for node in state.tree.candidates if not node.is_closed and is_judged(node)]
    return ranked(state, judged)[:count]


def confidence(state: SearchState, best: Candidate) -> Confidence | None:
    """Return how sure the search is of its answer; None where it was not judged."""
    if best.draft.verified is not None:
        return Confidence(float(best.draft.verified), float(best.draft.verified), 0.0, 0)
    if not is_judged(best):
        return None
    rivals = [
        node
        for node in answers(state)
        if is_judged(node) and node.draft.passed == best.draft.passed
    ]
    if state.knobs.judging == "agreement":
        share = agreement_scores(rivals)[best.node_id]
        if share > 0:
            return Confidence(share, None, None, best.score_count)
    means = posterior_means(rivals, state.noise)
    places = sorted(range(len(rivals)), key=means.__getitem__, reverse=True)[:MAX_RIVALS]
    shown = [rivals[place] for place in places]
    if best not in shown:
        shown[-1] = best
    beliefs = [belief(node, state.noise) for node in shown]
    place = shown.index(best)
    own = beliefs[place]
    return Confidence(chance_best(beliefs, place), own.mean, own.sd, best.score_count)
