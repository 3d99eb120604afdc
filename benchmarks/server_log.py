"""Requests in the ledger against requests that a server received.

python -m benchmarks.run server_log
"""

import asyncio
from collections import Counter

from benchmarks.figures import Figure, Measured
from tests.server_audit import run_audit

__all__ = ["measure"]

QUESTIONS = 400
SEEDS = (1, 2, 3)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))


def measure() -> Measured:
    """Return both counts for each seed, and what happened on the way."""
    figures = []
    for seed in SEEDS:
        audit = asyncio.run(run_audit(QUESTIONS, seed))
        outcomes = Counter({outcome.value: n for outcome, n in audit.outcomes.items()})
        figures.append(
            Figure(
                f"requests in the ledger / received by the server, seed {seed}",
                f"{audit.ledger_requests} / {audit.server_requests}; {audit.differing_calls} of "
                f"{audit.compared_calls} calls differ; asked {len(audit.rows)} = "
                f"{_listed(outcomes)}",
                "equal, call by call",
                audit.is_exact,
                note=f"received: {_listed(audit.faults)}; cancelled unsent {audit.left_unsent}, "
                f"in flight {audit.left_in_flight}, at a retry {audit.left_at_retry}",
            )
        )
    return Measured("server_log", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
