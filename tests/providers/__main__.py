"""Try every behaviour and print the table: `python -m tests.providers [words in a name]`."""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.providers.behaviour import Behaviour
from tests.providers.behaviours import BEHAVIOURS, PLAIN
from tests.providers.running import Outcome, problems_of, run_behaviour


def _line(behaviour: Behaviour, outcome: Outcome, problems: list[str]) -> str:
    record = outcome.record
    cells = (
        f"{behaviour.name}{' *' if behaviour.is_extra else ''}",
        outcome.ended,
        str(record.get("asked", "-")),
        str(outcome.requests),
        str(record.get("repairs", "-")),
        "pass" if not problems else "FAIL",
    )
    widths = (66, 18, 5, 8, 7, 4)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _ended_right(behaviour: Behaviour, outcome: Outcome) -> bool:
    """Return whether a run ended in the reply or the error that is right, counts apart."""
    if outcome.error is None:
        return outcome.ended == behaviour.expected.ends or (
            outcome.ended == "reply" and behaviour.expected.ends in {"either", "fallback"}
        )
    names = [each.__name__ for each in type(outcome.error).__mro__]
    return behaviour.expected.ends in {"error", "either"} and behaviour.expected.error in names


async def _table(words: str, *, explains: bool) -> int:
    chosen = [each for each in BEHAVIOURS if words.lower() in each.name.lower()]
    passed: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    failed_by_area: Counter[str] = Counter()
    out = sys.stdout
    out.write(f"{'behaviour':66} {'ended as':18} calls requests repairs\n")
    with tempfile.TemporaryDirectory() as folder:
        plain = await run_behaviour(PLAIN, Path(folder) / "plain", replays=False)
        plain_reply = str(plain.record.get("reply"))
        for number, behaviour in enumerate(chosen):
            outcome = await run_behaviour(behaviour, Path(folder) / str(number))
            problems = problems_of(behaviour, outcome, plain_reply=plain_reply)
            kind = "others" if behaviour.is_extra else "of the tables"
            tried[kind] += 1
            passed[kind] += not problems
            ended[kind] += _ended_right(behaviour, outcome)
            if problems:
                failed_by_area[behaviour.area] += 1
            out.write(_line(behaviour, outcome, problems) + "\n")
            if explains:
                out.writelines(f"    {problem}\n" for problem in problems)
    out.write("\n* not a line of the tables, but of the same kinds\n")
    for kind, count in tried.items():
        out.write(f"{kind}: {count} tried, {ended[kind]} end right, {passed[kind]} pass\n")
    areas = ", ".join(f"{area} {count}" for area, count in sorted(failed_by_area.items()))
    out.write(f"failing by area: {areas or 'none'}\n")
    return 1 if failed_by_area else 0


def main() -> int:
    """Return 0 when all pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.providers", description=__doc__)
    parser.add_argument(
        "words", nargs="?", default="", help="only behaviours with this in the name"
    )
    parser.add_argument("--explain", action="store_true", help="say what is wrong with each")
    arguments = parser.parse_args()
    return asyncio.run(_table(arguments.words, explains=arguments.explain))


if __name__ == "__main__":
    raise SystemExit(main())
