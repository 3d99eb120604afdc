"""Measure the budgeter under load: `python -m benchmarks.load [PART ...]`, or `make bench-load`.

Each part that is run replaces its section of benchmarks/results/load.md, with the commit, date
and machine that it is from; the others stay as they are. Figures with a target say whether they
reach it.
"""

from collections.abc import Sequence

from benchmarks import pages

__all__ = ["PARTS", "RESULTS", "main"]

PARTS = {
    "replay": "1 · load and strict replay",
    "limits": "2 · requests and tokens per minute",
    "waiting": "3, 4 · waiting calls, classes and deadlines",
    "capacity": "5 · capacity that changes",
    "batches": "6, 7 · batches of texts and of chat calls",
    "pipeline": "6b · the pipeline on an endpoint with a batch route",
    "batch_kills": "8 · provider's batch interface, clients killed",
    "cache_traces": "9 · eviction on recorded and drawn traces",
    "processes": "10, 11 · limits over several processes",
    "dead_endpoint": "12 · dead endpoint of two",
    "azure": "13 · the Azure trace with faults",
    "cost": "14 · cost of a call",
    "peers": "15 · the same calls through peers",
    "headlines": "16 · the documents' tables, simulated",
    "observing": "17 · metrics, status and callwise top",
}
"""Parts in the order of the page: module, and title of its section."""

RESULTS = pages.RESULTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print and write.

    Raises:
        SystemExit: for a part that there is not.
    """
    about = (__doc__ or "").splitlines()[0]
    pages.Page("load", "The budgeter under load", about, PARTS).run(arguments, RESULTS)


if __name__ == "__main__":
    main()
