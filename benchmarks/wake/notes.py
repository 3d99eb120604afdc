"""The notes of many agents: a million of them stored and searched.

1,000,000 notes of 10,000 agents, as many each as Zipf's law gives and 10,000 for the first, come
in random order. A note has some 15 words and a vector. Other processes ingest and search, so that
each has its own memory. A search is by words and vector, in a file that the system has in memory;
the asked agents are drawn by their notes (each note as likely), evenly, or are those of at most
1,000 notes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Measured
from benchmarks.load.meters import percentile
from callwise.memory.stored_records import Embedding
from callwise.wake import OutgoingMessage, WakeStore

__all__ = ["measure"]

NOTES, AGENTS, LARGEST = 1_000_000, 10_000, 10_000
DIMENSIONS = 384
SEARCHES = 4_000
PUBLISHED = 20_000
"""Last notes, each stored with its message and payment, as a wake does."""
MODEL = "drawn"
WORDS = 20_000
SIZE_OF_SMALL = 1_000


def sizes_of(notes: int, agents: int, largest: int) -> np.ndarray:
    """Return the number of notes of each agent: Zipf's law with the exponent that fits.

    Their sum is `notes` but for rounding.
    """
    ranks = np.arange(1, agents + 1, dtype=np.float64)
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        is_flat = largest * (ranks**-middle).sum() > notes
        low, high = (middle, high) if is_flat else (low, middle)
    return np.maximum((largest * ranks**-low).round().astype(np.int64), 1)


class Texts:
    """Texts of words whose frequency follows Zipf's law."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        picked = np.random.default_rng(0).integers(0, len(syllables), size=(WORDS, 3))
        self._words = ["".join(syllables[each] for each in row) for row in picked]
        weights = 1 / np.arange(10, WORDS + 10)
        self._until = np.cumsum(weights / weights.sum())

    def lines(self, count: int, words: int) -> list[str]:
        """Return so many texts of so many words each."""
        drawn = self._random.random(size=(count, words))
        places = np.minimum(np.searchsorted(self._until, drawn), WORDS - 1)
        return [" ".join(self._words[each] for each in row) for row in places.tolist()]


def _vectors(random: np.random.Generator, count: int, dimensions: int) -> list[list[float]]:
    drawn: list[list[float]] = random.standard_normal(
        (count, dimensions), dtype=np.float32
    ).tolist()
    return drawn


def _notes(options: Mapping[str, Any]) -> Iterator[tuple[str, str, Embedding]]:
    """Yield agent, text and embedding of each note, in the order of their coming."""
    random = np.random.default_rng(7)
    sizes = sizes_of(options["notes"], options["agents"], options["largest"])
    order = random.permutation(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    texts = Texts(3)
    for begin in range(0, len(order), 1_000):
        owners = order[begin : begin + 1_000].tolist()
        lines = texts.lines(len(owners), 15)
        vectors = _vectors(random, len(owners), options["dimensions"])
        for owner, line, vector in zip(owners, lines, vectors, strict=True):
            yield f"agent{owner}", line, Embedding(MODEL, tuple(vector))


def ingest(options: Mapping[str, Any]) -> dict[str, Any]:
    """Store all notes, each in its own transaction; the last ones with a message."""
    total = int(sizes_of(options["notes"], options["agents"], options["largest"]).sum())
    published = min(PUBLISHED, total // 10)
    seconds: dict[str, float] = {"add": 0.0, "publish": 0.0}
    worst = busy = 0.0
    with WakeStore(options["path"]) as store:
        for number, (agent, text, embedding) in enumerate(_notes(options)):
            began, busy_before = time.perf_counter(), time.process_time()
            if number < total - published:
                store.notes.add(agent, text, at=float(number), embedding=embedding)
                took = time.perf_counter() - began
                seconds["add"] += took
                busy += time.process_time() - busy_before
            else:
                message = OutgoingMessage(f"m{number}", "main", agent, text, float(number))
                store.credits.hold(message.id, f"agent:{agent}", 0)
                store.publish(message, notes=[text], embeddings=[embedding])
                took = time.perf_counter() - began
                seconds["publish"] += took
            worst = max(worst, took)
            if number % 100_000 == 0:
                print(f"{number} notes, {seconds['add']:.0f} s", file=sys.stderr, flush=True)
    return {
        "notes": total,
        "add_per_second": (total - published) / seconds["add"],
        "add_per_busy_second": (total - published) / busy,
        "publish_per_second": published / seconds["publish"],
        "worst_ms": worst * 1e3,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_bytes": sum(each.stat().st_size for each in Path(options["path"]).parent.iterdir()),
    }


def search(options: Mapping[str, Any]) -> dict[str, Any]:
    """Search agents that are drawn in several ways, and return percentiles in ms."""
    sizes = sizes_of(options["notes"], options["agents"], options["largest"])
    random = np.random.default_rng(11)
    count = options["searches"]
    by_notes = random.choice(len(sizes), size=count, p=sizes / sizes.sum())
    small = np.flatnonzero(sizes <= SIZE_OF_SMALL)
    by_small_notes = random.choice(small, size=count, p=sizes[small] / sizes[small].sum())
    asked = {
        "by their notes": by_notes,
        "evenly": random.integers(0, len(sizes), size=count),
        "up to 1,000 notes, by their notes": by_small_notes,
        "the largest one": np.zeros(count // 10, dtype=np.int64),
    }
    results: dict[str, Any] = {}
    with WakeStore(options["path"]) as store:
        for name, agents in asked.items():
            queries = Texts(5).lines(len(agents), 40)
            times = []
            for agent, query in zip(agents.tolist(), queries, strict=True):
                vector = tuple(_vectors(random, 1, options["dimensions"])[0])
                began = time.perf_counter()
                found = store.notes.search(
                    f"agent{agent}", query, limit=5, embedding=Embedding(MODEL, vector)
                )
                times.append((time.perf_counter() - began) * 1e3)
                if len(found) != min(5, sizes[agent]):
                    raise AssertionError(f"agent {agent}: {len(found)} notes")
            results[name] = {each: percentile(times, each) for each in (50, 95, 99, 100)}
        results["kept_mb"] = store.notes.kept_bytes / 2**20
    results["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results


def _in_process(step: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step returns in a separate process."""
    command = [sys.executable, "-m", "benchmarks.wake.notes", step, json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return dict(json.loads(done.stdout))


def measure(**changed: int) -> Measured:
    """Return the figures of a store in a temporary folder.

    Args:
        changed: of `notes`, `agents`, `largest`, `dimensions` and `searches`.
    """
    options = {
        "notes": NOTES,
        "agents": AGENTS,
        "largest": LARGEST,
        "dimensions": DIMENSIONS,
        "searches": SEARCHES,
        **changed,
    }
    with tempfile.TemporaryDirectory() as folder:
        given = {**options, "path": str(Path(folder) / "wake.sqlite")}
        stored = _in_process("ingest", given)
        found = _in_process("search", given)
    ratio = stored["file_bytes"] / (stored["notes"] * options["dimensions"] * 4)
    rss = max(stored["rss_mb"], found["rss_mb"])
    add, publish = stored["add_per_second"], stored["publish_per_second"]

    def times(name: str) -> str:
        return " / ".join(f"{each:.2f}" for each in found[name].values())

    def figure(name: str, target: str, *, is_met: bool | None) -> Figure:
        what = f"search by words and vector, agents drawn {name}: p50 / p95 / p99 / worst, ms"
        return Figure(what, times(name), target, is_met)

    def within(name: str, **most: float) -> bool:
        return all(found[name][percent[1:]] <= limit for percent, limit in most.items())

    small = "up to 1,000 notes, by their notes"
    figures = [
        figure(
            "by their notes",
            "p95 <= 20, p99 <= 60",
            is_met=within("by their notes", p95=20, p99=60),
        ),
        figure("evenly", "p95 <= 20, p99 <= 60", is_met=within("evenly", p95=20, p99=60)),
        figure(small, "p95 <= 5", is_met=within(small, p95=5)),
        Figure(
            "search of the largest agent, after the first: p50 / p95 / p99 / worst, ms",
            times("the largest one"),
        ),
        Figure(
            "notes stored per second, each in its own transaction",
            f"{add:,.0f}",
            ">= 2,000",
            add >= 2_000,
        ),
        Figure(
            "the same per second of the process's own processor time",
            f"{stored['add_per_busy_second']:,.0f}",
        ),
        Figure(
            "the same with a message and its payment (hold, then publish)",
            f"{publish:,.0f}",
            "",
            None,
        ),
        Figure("file / vectors", f"{ratio:.2f}", "<= 1.3", ratio <= 1.3),
        Figure(
            "RSS, MB: of the process that stores / that searches",
            f"{stored['rss_mb']:.0f} / {found['rss_mb']:.0f}",
            "<= 300",
            rss <= 300,
        ),
    ]
    return Measured("notes", figures)


if __name__ == "__main__":
    print(json.dumps({"ingest": ingest, "search": search}[sys.argv[1]](json.loads(sys.argv[2]))))
