"""A client of a batch interface that is killed at a chosen point, and run again until it is done.

Points are counted in the client: before and after each request that it sends, and before and
after each time that it writes to its queue. The provider runs in the parent, and its log shows
what was bought.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from callwise.budget import Budgeter
from callwise.budget.batch_api import background_queue
from callwise.budget.batch_api.store import QueueStore
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.call import Priority
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.openai_http import OpenAIClient
from tests.callwise.budget.batch_api.provider import BatchProvider

__all__ = ["KillCounts", "KillReport", "kill_everywhere", "run_killed"]

REPOSITORY = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class KillReport:
    """The end of one client that was killed and run again.

    Args:
        was_killed: whether it came as far as its point.
        answers: that were recorded, by question.
        points: that the last run passed.
    """

    was_killed: bool
    answers: dict[str, str]
    points: int


class KillCounts(NamedTuple):
    """Sums over clients that were killed at many points.

    Args:
        points: that a client passes which is not killed.
        killed: clients that were killed.
        bought_twice: lines that the provider ran more than once, by its log.
        not_bought: lines that it never ran.
        wrong_answers: questions whose recorded answer is another's, or none.
    """

    points: int
    killed: int
    bought_twice: int
    not_bought: int
    wrong_answers: int


class _Points:
    """Counts points, and kills the process at one of them."""

    def __init__(self, fatal: int) -> None:
        self.passed = 0
        self._fatal = fatal

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class _KilledClient(OpenAIClient):
    points: _Points

    async def request(self, *args: Any, **options: Any) -> bytes:
        """Send a request between two points."""
        self.points()
        answer = await super().request(*args, **options)
        self.points()
        return answer


async def _ask(settings: dict[str, Any]) -> None:
    """Ask all questions in this process, and print the answers."""
    points = _Points(settings["fatal"])

    class KilledStore(QueueStore):
        """A queue file with a point before and after each transaction."""

        def _transaction(self) -> Any:
            points()
            return super()._transaction()

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name not in {"accept", "submit", "note", "end", "take"}:
                return found

            def run(*args: Any) -> Any:
                result = found(*args)
                points()
                return result

            return run

    background_queue.QueueStore = KilledStore  # type: ignore[attr-defined,misc]
    client = _KilledClient(settings["url"])
    client.points = points
    knobs = BackgroundKnobs(
        file=Path(settings["file"]),
        api=settings["api"],
        max_lines=settings["max_lines"],
        quiet_seconds=0.05,
        max_wait_seconds=5.0,
        first_poll_seconds=0.01,
        max_poll_seconds=0.02,
        settle_seconds=0.0,
    )
    endpoint = Endpoint("provider", "model-1", client)
    budgeter = Budgeter(
        dict.fromkeys(Role, endpoint), load=LoadKnobs(background=knobs), max_kept_rows=0
    )
    answers = Path(settings["file"]).with_suffix(".answers")
    known = _recorded(answers)
    with answers.open("ab", buffering=0) as file:

        async def ask(question: str) -> None:
            message = Message("user", question)
            call = Call(
                Role.MAIN, Purpose.OTHER, (message,), priority=Priority.BACKGROUND, share=False
            )
            reply = await budgeter.ask(call)
            file.write(orjson.dumps([question, reply.text], option=orjson.OPT_APPEND_NEWLINE))

        questions = [f"q{number}" for number in range(settings["lines"])]
        await asyncio.gather(*(ask(each) for each in questions if each not in known))
    budgeter.ledger.check()
    # The queue is closed last, so that points of closing are met as well.
    await budgeter.aclose()
    sys.stdout.buffer.write(b"%d" % points.passed)


def _recorded(path: Path) -> dict[str, str]:
    """Return the answers that a program has recorded, as a cassette would."""
    if not path.exists():
        return {}
    whole = [each for each in path.read_bytes().split(b"\n") if each.endswith(b"]")]
    return dict(map(orjson.loads, whole))


async def _run(settings: dict[str, Any]) -> int | None:
    """Return how many points a client has passed; None where it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        orjson.dumps(settings).decode(),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode == -signal.SIGKILL:
        return None
    if process.returncode:
        raise RuntimeError(f"the client ended with {process.returncode}")
    return int(output)


async def run_killed(
    provider: BatchProvider,
    file: Path,
    *,
    api: str,
    lines: int,
    fatal: int,
    max_lines: int = 10_000,
) -> KillReport:
    """Ask for lines, killed at a point and run again, and return what came of it."""
    settings = {
        "url": provider.url,
        "file": str(file),
        "api": api,
        "lines": lines,
        "max_lines": max_lines,
        "fatal": fatal,
    }
    first = await _run(settings)
    last = first if first is not None else await _run({**settings, "fatal": 0})
    assert last is not None
    return KillReport(first is None, _recorded(file.with_suffix(".answers")), last)


async def kill_everywhere(
    folder: Path, *, api: str, lines: int, max_lines: int, kills: int
) -> KillCounts:
    """Kill a client at points spread over its way, each with another queue and provider."""
    settings = {"api": api, "lines": lines, "max_lines": max_lines}
    questions = [f"q{number}" for number in range(lines)]
    whole = await _run_apart(folder / "whole.sqlite", fatal=0, **settings)
    points = whole[0].points
    killed = twice = missing = wrong = 0
    for fatal in sorted({1 + round(at * (points - 1) / max(kills - 1, 1)) for at in range(kills)}):
        report, bought = await _run_apart(folder / f"{fatal}.sqlite", fatal=fatal, **settings)
        killed += report.was_killed
        twice += sum(count > 1 for count in bought.values())
        missing += len(set(questions) - bought.keys())
        wrong += sum(report.answers.get(each) != f"echo {each}" for each in questions)
    return KillCounts(points, killed, twice, missing, wrong)


async def _run_apart(file: Path, **settings: Any) -> tuple[KillReport, Counter[str]]:
    """Return what came of a client with a provider for it alone, and what was bought there."""
    provider = BatchProvider()
    await provider.start()
    try:
        return await run_killed(provider, file, **settings), provider.bought
    finally:
        await provider.stop()


if __name__ == "__main__":
    asyncio.run(_ask(orjson.loads(sys.argv[1])))
