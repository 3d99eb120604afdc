"""Processes that are killed or stopped while they write a store, and what the store has then.

A point is a statement of SQLite, one of a trigger among them, or one step of its machine. Run as
a program, this module forks one process per point; each makes the store, grants, holds, publishes
and delivers until it comes to its point. After each, the store is opened again and checked.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from callwise.memory.memory_errors import StoreLocked
from callwise.wake import OutgoingMessage, WakeStore

__all__ = ["KillReport", "kill_everywhere"]

REPOSITORY = Path(__file__).parents[3]
MESSAGES = 2
_connect = sqlite3.connect


@dataclass(slots=True)
class KillReport:
    """Sums over processes that were killed or stopped.

    Args:
        killed: processes that were killed.
        stopped: processes that were stopped and went on.
        locked: of those, how many had the lock meanwhile, so that another gave up.
        problems: what was wrong with a store.
    """

    killed: int
    stopped: int
    locked: int
    problems: list[str]


def kill_everywhere(folder: Path, *, seed: int, kills: int, stops: int) -> KillReport:
    """Kill and stop processes at many points.

    Args:
        seed: chooses points, but the first of stores that are killed at each statement.
        kills: stores that are first killed at a step; those killed at a statement are as many as
            there are statements.
        stops: stores whose process is stopped.
    """
    output = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", __name__, str(folder), str(seed), str(kills), str(stops)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
        timeout=500,
    ).stdout
    return KillReport(**orjson.loads(output))


class _Points:
    """Counts statements or steps of every connection, and sends a signal at one of them."""

    def __init__(self, fatal: int, sent: signal.Signals, *, by_step: bool) -> None:
        self.passed = 0
        self._fatal = fatal
        self._sent = sent
        self._by_step = by_step

    def __call__(self, _: object = None) -> int:
        self.passed += 1
        if self.passed == self._fatal:
            os.kill(os.getpid(), self._sent)
        return 0

    def connect(self, *args: object, **options: object) -> sqlite3.Connection:
        """Connect, with the points counted from the first statement on."""
        connection = _connect(*args, **options)  # type: ignore[call-overload]
        if self._by_step:
            connection.set_progress_handler(self, 1)
        else:
            connection.set_trace_callback(self)
        return connection


def wake(path: Path) -> None:
    """Make the store if it is not there, and do all that is left to do.

    Repeated after a crash, as a service does: it asks only for messages that are not there.
    """
    with WakeStore(path) as store:
        for number in range(MESSAGES):
            message_id = f"m{number}"
            store.credits.grant("ann", 2, transfer_id=f"g{number}")
            store.rooms.say("main", "eve", "hello", id=f"p{number}", at=float(number))
            if not store.rooms.has_message(message_id):
                assert store.credits.hold(message_id, "ann", 2)
                if number % 2:
                    store.credits.release(message_id)
                    assert store.credits.hold(message_id, "ann", 2)
                message = OutgoingMessage(message_id, "main", "ann", "tea?", number + 1.5)
                store.publish(message, notes=[f"note {number}"])
            store.claims.claim_slot("main", number)
            store.rooms.deliver_due(float(number))
        store.rooms.deliver_due(100.0)


def _fork(path: Path, points: _Points) -> int:
    """Run a process, and return its id."""
    process_id = os.fork()
    if process_id:
        return process_id
    status = 1
    try:
        sqlite3.connect = points.connect  # type: ignore[assignment]
        wake(path)
        status = 0
    finally:
        os._exit(status)


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(_connect(path)) as connection:
        return connection.execute(query).fetchall()


def problems_of(path: Path, *, is_whole: bool) -> list[str]:
    """Return what is wrong with a store; `is_whole`: nothing was left to do."""
    with WakeStore(path) as store:
        log = store.rooms.messages("main")
        held = store.credits.open_holds()
        total = store.credits.total()
        balance = store.credits.balance("ann")
        waiting = store.rooms.undelivered()
        notes = store.notes.search("ann", "", limit=99)
    outbox = [each for (each,) in _rows(path, "SELECT id FROM outbox")]
    spent = [each for (each,) in _rows(path, "SELECT id FROM credit_transfers WHERE kind='spend'")]
    grants = _rows(path, "SELECT id FROM credit_transfers WHERE kind = 'grant'")
    sums = _rows(path, "SELECT sum(credits), count(*) FROM credit_legs GROUP BY transfer")
    there = Counter([*(message.id for message in log), *outbox])
    published = sorted(each for each in there if str(each).startswith("m"))
    everything = {f"{kind}{number}" for kind in "mp" for number in range(MESSAGES)}
    checks = {
        "a message is there twice": max(there.values(), default=1) == 1,
        "the numbers have a gap": [message.sequence for message in log]
        == list(range(1, len(log) + 1)),
        "a message is not paid once": sorted(map(str, spent)) == published,
        "the notes are not those of the messages": sorted(notes)
        == [f"note {str(each)[1:]}" for each in published],
        "the legs do not sum to 0": total == 0 and set(sums) <= {(0, 2)},
        "the balance is wrong": balance == 2 * (len(grants) - len(spent) - len(held)) >= 0,
        "something is left": not is_whole
        or (there.keys() == everything and not held and not waiting and balance == 0),
    }
    return [f"{path.name}: {problem}" for problem, is_right in checks.items() if not is_right]


def _kill(path: Path, points: _Points) -> tuple[bool, list[str]]:
    """Return whether a process was killed, and what is wrong with its store afterwards."""
    _, status = os.waitpid(_fork(path, points), 0)
    was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    problems = problems_of(path, is_whole=not was_killed)
    if not was_killed and status:
        problems.append(f"{path.name}: the process ended with {status}")
    return was_killed, problems


def _stop(path: Path, points: _Points) -> tuple[bool, bool, list[str]]:
    """Return whether a process was stopped, whether it had the lock, and what is wrong.

    While it is stopped, another does the same work with a short timeout.
    """
    process_id = _fork(path, points)
    _, status = os.waitpid(process_id, os.WUNTRACED)
    was_stopped = os.WIFSTOPPED(status)
    was_locked = False
    if was_stopped:
        try:
            with WakeStore(path, busy_timeout_seconds=0.02) as other:
                other.rooms.deliver_due(100.0)
                other.credits.grant("ann", 2, transfer_id="g0")
        except StoreLocked:
            was_locked = True
        finally:
            os.kill(process_id, signal.SIGCONT)
        _, status = os.waitpid(process_id, 0)
    problems = problems_of(path, is_whole=True)
    if status:
        problems.append(f"{path.name}: the process ended with {status}")
    return was_stopped, was_locked, problems


def _count(path: Path, *, by_step: bool) -> int:
    """Return how many points a process passes that is not killed."""
    points = _Points(0, signal.SIGKILL, by_step=by_step)
    sqlite3.connect = points.connect  # type: ignore[assignment]
    try:
        wake(path)
    finally:
        sqlite3.connect = _connect
    return points.passed


def _main(folder: Path, seed: int, kills: int, stops: int) -> KillReport:
    counts = {each: _count(folder / f"whole{each}.sqlite", by_step=each) for each in (False, True)}
    chooser = random.Random(seed)
    report = KillReport(0, 0, 0, [])

    def drawn(sent: signal.Signals) -> _Points:
        by_step = chooser.random() < 0.5
        return _Points(chooser.randint(1, counts[by_step]), sent, by_step=by_step)

    points = [(False, fatal) for fatal in range(1, counts[False] + 1)]
    points += [(True, chooser.randint(1, counts[True])) for _ in range(kills)]
    for number, (by_step, fatal) in enumerate(points):
        path = folder / f"kill{number}.sqlite"
        was_killed, problems = _kill(path, _Points(fatal, signal.SIGKILL, by_step=by_step))
        assert was_killed, path
        while was_killed:  # what is left to do is killed as well, until a process ends
            report.killed += 1
            report.problems += problems
            was_killed, problems = _kill(path, drawn(signal.SIGKILL))
        report.problems += problems
    for number in range(stops):
        stopped = _stop(folder / f"stop{number}.sqlite", drawn(signal.SIGSTOP))
        report.stopped += stopped[0]
        report.locked += stopped[1]
        report.problems += stopped[2]
    return report


if __name__ == "__main__":
    _, _folder, *_numbers = sys.argv
    _report = _main(Path(_folder), *map(int, _numbers))
    sys.stdout.buffer.write(orjson.dumps(asdict(_report)))
