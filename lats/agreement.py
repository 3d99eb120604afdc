"""Agreement as a judge: where answers can be checked, the largest cluster that passes wins.

Candidates that pass the same checks and give the same answer form a cluster; a cluster's
worth is its size times the checks that it passes. A check that was written wrong splits
off few candidates or many at random; a wrong candidate is wrong in its own way.

Source: CodeT (arXiv 2207.10397), dual execution agreement, with the number of candidates
itself rather than its root. Without checks it is self-consistency (arXiv 2203.11171).
"""

from collections import Counter
from collections.abc import Iterable

from lats.candidate import Candidate

__all__ = ["agreement_scores"]


def _signature(node: Candidate) -> tuple[str, frozenset[str]]:
    answer = "" if node.verdict is None else node.verdict.answer
    return answer, frozenset(name for name, passed in node.checks.items() if passed)


def agreement_scores(nodes: Iterable[Candidate]) -> dict[str, float]:
    """Return each candidate's share of all clusters' worth, by id.

    Args:
        nodes: candidates, each checked by the same checks. One that no call has read stands
            in no cluster and gets 0.

    Returns:
        Each in [0, 1]; candidates of one cluster share a score. All 0 when nothing was read.
    """
    every = list(nodes)
    read = [node for node in every if node.verdict is not None]
    signatures = {node.node_id: _signature(node) for node in read}
    sizes = Counter(signatures.values())
    has_checks = any(node.checks for node in read)
    worth = {
        signature: size * (len(signature[1]) if has_checks else 1)
        for signature, size in sizes.items()
    }
    total = sum(worth.values())
    scores = {node.node_id: 0.0 for node in every}
    if total:
        scores.update((each, worth[signature] / total) for each, signature in signatures.items())
    return {str(node_id): score for node_id, score in scores.items()}
