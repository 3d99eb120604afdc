"""Measure the search: `python -m benchmarks.search`, or `make bench-search`.

Runs every policy and every peer on the recorded pools, on tasks of steps, on the simulated
grid and against the clock, and writes the tables and one figure. A pool whose record is not on
this machine is named and left out; the rest still runs.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import provenance
from benchmarks.search.measuring import Found, Scale, measure
from benchmarks.search.pools import Half
from benchmarks.search.report import (
    draw_again,
    means_part,
    page_part,
    results_markdown,
    write_results,
)
from benchmarks.search.settings import POOLS

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PARTS: Mapping[Path, Callable[[Found, Mapping[str, str]], str]] = {
    ROOT / "docs" / "measured.md": means_part,
    ROOT / "docs" / "simulator-and-pools.md": page_part,
}
"""Pages that have a generated part, each with what makes it."""

EPILOG = f"""
pools: {", ".join(POOLS)}

  python -m benchmarks.search
      everything, on the reporting half; writes search.md, search.json, search_curves.json
      and search.svg to benchmarks/results/, and the generated parts of docs/measured.md and
      docs/simulator-and-pools.md
  python -m benchmarks.search --tuning --pools humaneval --seeds 2
      while developing: the tuning half of one pool; prints, and writes nothing
  python -m benchmarks.search --tuning --out look
      the same report and figure somewhere else

Recorded pools are read from the folder that CALLWISE_DATA names (default: ../shared/data).
Prompts are halved by sorted id. Knobs are chosen on one half (tuning), and what is claimed is
measured on the other (reporting): do not look at that one to choose.
treequest, matplotlib and pyarrow are in the `bench` extra.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search",
        description=(__doc__ or "").splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--pools", nargs="*", metavar="POOL", help="recorded pools to run; all when left out"
    )
    parser.add_argument(
        "--tuning", action="store_true", help="the tuning half, for development; writes nothing"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute, for a look; intervals are wide"
    )
    parser.add_argument(
        "--seeds", type=int, default=10, metavar="N", help="shuffles of each recorded prompt (10)"
    )
    parser.add_argument(
        "--simulated",
        type=int,
        default=100,
        metavar="N",
        help="prompts of each simulated setting (100)",
    )
    parser.add_argument(
        "--puzzles",
        type=int,
        default=100,
        metavar="N",
        help="puzzles of each task of steps (100); 0 leaves them out",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=max(os.cpu_count() or 1, 1),
        metavar="N",
        help="processes (as many as cores); results do not depend on it",
    )
    parser.add_argument(
        "--draw", action="store_true", help="draw the figure of stored results again, and end"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write, instead of benchmarks/results"
    )
    return parser


def _scale(given: argparse.Namespace) -> Scale:
    half: Half = "tuning" if given.tuning else "reporting"
    if given.quick:
        return Scale(
            half=half,
            seeds=min(given.seeds, 1),
            simulated_prompts=min(given.simulated, 40),
            caps=(2, 3, 6, 11, 16),
            puzzles=min(given.puzzles, 10),
            turns=1,
            sizes=(100,),
            workers=given.workers,
        )
    return Scale(
        half=half,
        seeds=given.seeds,
        simulated_prompts=given.simulated,
        puzzles=given.puzzles,
        workers=given.workers,
    )


def _checked_pools(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[str]:
    """Return the keys of the pools to run; ends with a message where an argument makes no sense."""
    keys = list(POOLS) if given.pools is None else given.pools
    unknown = sorted(set(keys) - set(POOLS))
    if unknown:
        parser.error(f"there is no pool {unknown[0]!r}; there are: {', '.join(POOLS)}")
    if given.seeds < 1 or given.workers < 1 or given.simulated < 2:
        parser.error("--seeds and --workers are at least 1, --simulated at least 2")
    if given.puzzles < 0 or given.puzzles == 1:
        parser.error("--puzzles is 0, or at least 2")
    if find_spec("matplotlib") is None:
        parser.error("matplotlib is not installed; it is in the `bench` extra")
    return keys


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, and write unless it was only a look.

    Raises:
        SystemExit: for arguments that make no sense.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    keys = _checked_pools(parser, given)
    if given.draw:
        print(draw_again(given.out or RESULTS))
        return
    scale = _scale(given)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", file=sys.stderr, flush=True)

    found = measure(keys, scale, say)
    seconds = time.monotonic() - began
    facts = {
        **provenance(),
        "seeds": f"shuffles 0 to {scale.seeds - 1}, bootstrap 0",
        "prompts": f"the {scale.half} half",
        "took": f"{seconds:.0f} s",
    }
    print(results_markdown(found, facts))
    if given.out is None and (given.tuning or given.quick or set(keys) != set(POOLS)):
        say("only a look: nothing was written")
        return
    folder, parts = given.out or RESULTS, PARTS
    folder.mkdir(parents=True, exist_ok=True)
    if given.out is not None:
        parts = {given.out / page.name: part for page, part in PARTS.items()}
        for page in PARTS:
            (given.out / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    pages = {page: part(found, facts) for page, part in parts.items()}
    written = write_results(found, facts, folder, pages=pages)
    for path in written:
        say(f"wrote {path}")


if __name__ == "__main__":
    main()
