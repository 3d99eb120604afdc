"""Rate at which the turn that answers a question is found, and the time it takes.

    python benchmarks/retrieval.py

Reads `sample_memorybank_cn` from CALLWISE_DATA, in place: 15 users, 566 turns in
Chinese, 100 questions with the turns that answer them (labelled by a model, not
checked by people). Each question is asked of its user's turns, and of all
turns. Lexical only: no model is asked. hit@k: a turn that answers is among the first k.

The weights were chosen by hand on the first 8 users (by id) and are reported on
them, on the other 7, and on all. Intervals are 95 %, from 2,000 bootstrap samples of
questions, seeded; differences are paired by question. Deterministic, timing aside.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Measured
from callwise.memory.retrieval import TurnIndex

__all__ = ["main"]

KS = (1, 3, 5, 10)
TUNING_USERS = 8
BOOTSTRAP_SAMPLES = 2_000

Rows = list[dict[str, Any]]
Ranker = Callable[[Rows, Sequence[str]], list[list[int]]]
"""From turns and questions to each question's best turns, by place."""


def plain_bm25(turns: Rows, questions: Sequence[str]) -> list[list[int]]:
    """Rank by BM25 over character bigrams with k1 1.2 and b .75: the usual baseline."""
    documents = [_bigrams(_text(turn)) for turn in turns]
    lengths = np.array([sum(document.values()) for document in documents], dtype=float)
    dampers = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
    frequency = Counter(pair for document in documents for pair in document)
    rankings = []
    for question in questions:
        scores = np.zeros(len(turns))
        for pair, weight in _bigrams(question).items():
            having = frequency[pair]
            idf = np.log(1 + (len(turns) - having + 0.5) / (having + 0.5))
            counts = np.array([document[pair] for document in documents], dtype=float)
            scores += weight * idf * counts * 2.2 / (counts + dampers)
        rankings.append(np.argsort(-scores, kind="stable").tolist())
    return rankings


def _bigrams(text: str) -> Counter[str]:
    text = re.sub(r"\s", "", text.lower())
    return Counter(text[place : place + 2] for place in range(len(text) - 1))


def _text(turn: dict[str, Any]) -> str:
    return f"{turn['user_text']}\n{turn['bot_text']}"


def callwise_index(turns: Rows, questions: Sequence[str], *, dated: bool = True) -> list[list[int]]:
    """Rank as the memory does."""
    index = TurnIndex()
    for turn in turns:
        # Without a time, the day still separates sittings.
        sitting = f"{turn['user_id']}/{turn['date']}"
        index.add(_text(turn), conversation_id=sitting, time=turn["date"] if dated else None)
    return [[hit.position for hit in index.search(q, max(KS))] for q in questions]


def undated_index(turns: Rows, questions: Sequence[str]) -> list[list[int]]:
    """Rank as the memory does where turns have no time."""
    return callwise_index(turns, questions, dated=False)


def first_hits(ranker: Ranker, turns: Rows, probes: Rows, *, own: bool) -> np.ndarray:
    """Return the rank (from 1) of each probe's first right turn; infinite if not found."""
    ranks = []
    users = sorted({probe["user_id"] for probe in probes}) if own else [None]
    for user in users:
        docs = [turn for turn in turns if user in (None, turn["user_id"])]
        asked = [probe for probe in probes if user in (None, probe["user_id"])]
        rankings = ranker(docs, [probe["question"] for probe in asked])
        for probe, ranking in zip(asked, rankings, strict=True):
            wanted = set(probe["evidence_turn_ids"])
            places = [n for n, d in enumerate(ranking, 1) if docs[d]["turn_id"] in wanted]
            ranks.append(places[0] if places else np.inf)
    return np.array(ranks, dtype=float)


def interval(values: np.ndarray) -> str:
    """Return a mean with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(values), size=(BOOTSTRAP_SAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def print_table(title: str, ranks: dict[str, np.ndarray]) -> None:
    """Print hit rates by ranker, and the paired difference to the first ranker."""
    print(f"\n{title}, {len(next(iter(ranks.values())))} questions")
    print("| ranking | " + " | ".join(f"hit@{k}" for k in KS) + " | MRR |")
    print("|---" * (len(KS) + 2) + "|")
    for name, found in ranks.items():
        cells = [interval((found <= k).astype(float)) for k in KS] + [interval(1 / found)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    baseline, *others = ranks
    for name in others:
        gains = [
            interval((ranks[name] <= k).astype(float) - (ranks[baseline] <= k)) for k in KS
        ] + [interval(1 / ranks[name] - 1 / ranks[baseline])]
        print(f"| {name}, minus {baseline} | " + " | ".join(gains) + " |")


def print_speed(turns: Rows, questions: Sequence[str]) -> None:
    """Print the time of a search, and of adding a turn, by size of the memory."""
    print("\n| turns in memory | search, median us | search, p95 us | adding a turn, us |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    index = TurnIndex()
    for size in (40, 600, 10_000):
        texts = [_text(turns[place]) for place in rng.integers(0, len(turns), size - len(index))]
        start = time.perf_counter()
        for text in texts:
            day = f"2026-{len(index) // 28 % 12 + 1:02d}-{len(index) % 28 + 1:02d}"
            index.add(text, conversation_id="c", time=day)
        adding = (time.perf_counter() - start) / len(texts)
        times = []
        for question in questions:
            start = time.perf_counter()
            index.search(question, 5)
            times.append(time.perf_counter() - start)
        median, p95 = np.quantile(times, [0.5, 0.95])
        print(f"| {size} | {median * 1e6:.0f} | {p95 * 1e6:.0f} | {adding * 1e6:.0f} |")


def data_folder() -> Path:
    """Return where the recorded conversations and questions are, or would be."""
    return Path(os.environ.get("CALLWISE_DATA", "../shared/data")) / "sample_memorybank_cn"


def _read(folder: Path) -> tuple[Rows, Rows]:
    """Return the turns and the questions about them."""
    turns, probes = (
        [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("turns.jsonl", "probes.jsonl")
    )
    return turns, probes


def measure() -> Measured:
    """Return the hit rates of a user's own memory, words only, and of plain BM25."""
    folder = data_folder()
    if not folder.exists():
        return Measured("retrieval", skipped=f"no recorded data in {folder}; set CALLWISE_DATA")
    turns, probes = _read(folder)
    ours = first_hits(callwise_index, turns, probes, own=True)
    plain = first_hits(plain_bm25, turns, probes, own=True)
    figures = [
        Figure(
            f"retrieval, own memory, words only, hit@{k} of {len(probes)} questions",
            f"{interval((ours <= k).astype(float))} (plain BM25 {(plain <= k).mean():.2f})",
            f">= {target}",
            bool((ours <= k).mean() >= target),
        )
        for k, target in ((5, 0.83), (1, 0.51))
    ]
    return Measured("retrieval", figures)


def main() -> None:
    """Print hit rates and timings, or say why not."""
    folder = data_folder()
    if not folder.exists():
        print(f"skipped: the recorded data are not in {folder}; set CALLWISE_DATA")
        return
    turns, probes = _read(folder)
    rankers: dict[str, Ranker] = {
        "plain BM25": plain_bm25,
        "Callwise without days": undated_index,
        "Callwise": callwise_index,
    }
    users = sorted({turn["user_id"] for turn in turns})
    parts = {
        "Own memory, tuning users": users[:TUNING_USERS],
        "Own memory, other users": users[TUNING_USERS:],
        "Own memory, all users": users,
    }
    for title, part in parts.items():
        asked = [probe for probe in probes if probe["user_id"] in part]
        ranks = {n: first_hits(r, turns, asked, own=True) for n, r in rankers.items()}
        print_table(title, ranks)
    ranks = {n: first_hits(r, turns, probes, own=False) for n, r in rankers.items()}
    print_table("All turns of all users", ranks)
    print_speed(turns, [probe["question"] for probe in probes])


if __name__ == "__main__":
    main()
