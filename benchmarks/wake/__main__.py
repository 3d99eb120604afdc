"""Measure awake agents: `python -m benchmarks.wake [PART ...]`, or `make bench-wake`.

Each part that is run replaces its section of benchmarks/results/wake.md, with the commit, date
and machine that it is from; the others stay as they are. Figures with a target say whether they
reach it.
"""

from collections.abc import Sequence

from benchmarks import pages

__all__ = ["PARTS", "RESULTS", "main"]

PARTS = {
    "variants": "1 · a day of five agents on two models, each variant",
    "scale": "2 · 10,000 agents on five models",
    "secrets": "3 · planted secrets of 10,000 agents, caches on",
    "kills": "4 · processes killed or stopped at any point",
    "mentions": "6 · a mention during the wake of 10,000 agents",
    "notes": "7 · the notes of 10,000 agents, a million of them",
    "irc": "8 · recorded IRC chats with five agents, and their replays",
    "burst": "9b · twenty agents against a limit of five requests in flight",
}
"""Parts in the order of the page: module, and title of its section."""

RESULTS = pages.RESULTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print and write.

    Raises:
        SystemExit: for a part that there is not.
    """
    about = (__doc__ or "").splitlines()[0]
    pages.Page("wake", "Awake agents", about, PARTS).run(arguments, RESULTS)


if __name__ == "__main__":
    main()
