"""Who says how good a sweep's replies are, and the rows with what they say.

One source counts for all settings: people's labels, a referee's scores, a truth where there
is one. None is mixed with another, and the search's own judge is none of them: it chose the
replies, so what it says of them is too good.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from turnwise.calls.errors import ConfigError
from turnwise.replay.recording import Recording
from turnwise.tune.counterfactual import run_apart
from turnwise.tune.quality import (
    Pairwise,
    Pointwise,
    ReplyItem,
    Score,
    ScoreFile,
    items_of,
    open_referee,
    read_labels,
    referee_endpoint,
    references_of,
    scale_width_of,
    simulated_truth,
    with_quality,
)
from turnwise.tune.quality.joining import choose_source
from turnwise.tune.quality.judged import Judged
from turnwise.tune.quality.planning import PricePreview
from turnwise.tune.quality.referee_endpoint import referee_secrets
from turnwise.tune.row import TurnRow

__all__ = ["JudgedRows", "QualityRequest", "QualitySource", "judge_rows", "preview_judging"]

QualitySource = Literal["auto", "truth", "referee", "pairwise", "none"]


@dataclass(frozen=True, slots=True)
class QualityRequest:
    """Whose word on quality counts.

    Args:
        source: `truth` reads the hidden quality of simulated replies; `referee` has a model
            give marks, `pairwise` has it compare with the recorded reply; `auto` takes labels
            where they are given, the truth of a simulated recording, and otherwise nobody;
            `none` leaves quality open.
        labels: people's labels, a CSV file; they count before any other source.
        repeats: looks of a referee at each reply; at least 1.
        max_calls: most calls a referee may buy; None for all.
    """

    source: QualitySource = "auto"
    labels: Path | None = None
    repeats: int = 1
    max_calls: int | None = None


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Rows with their quality.

    Args:
        rows: as they came, each with its quality.
        by: who judged; empty where nobody did.
        scale_width: of that one's scale; None where nobody judged.
        scores: everything that was said, the sources that do not count included.
        judged: what a referee did and spent; None without one.
        notices: what a person should know, in words.
    """

    rows: tuple[TurnRow, ...]
    by: str
    scale_width: float | None
    scores: tuple[Score, ...] = field(default=(), repr=False)
    judged: Judged | None = None
    notices: tuple[str, ...] = ()


def _lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    return [orjson.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def _items(
    recording: Recording, folder: Path, rows: Sequence[TurnRow]
) -> tuple[list[ReplyItem], tuple[str, ...]]:
    """Return the replies that a real run gives; what stands in for others is not judged."""
    texts = {line["reply_id"]: line["text"] for line in _lines(folder / "replies.jsonl")}
    exact = [row for row in rows if row.is_reply_exact]
    return items_of(exact, texts.get, _lines(recording.folder / "turns.jsonl"))


def _method(recording: Recording, request: QualityRequest) -> Pointwise | Pairwise:
    if request.source == "pairwise":
        references = references_of(_lines(recording.folder / "turns.jsonl"))
        return Pairwise(references, repeats=request.repeats)
    return Pointwise(repeats=request.repeats)


def _chosen(recording: Recording, request: QualityRequest) -> QualitySource:
    if request.source != "auto":
        return request.source
    return "truth" if recording.is_simulated and request.labels is None else "none"


def preview_judging(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    request: QualityRequest,
    *,
    environ: Mapping[str, str],
) -> PricePreview | None:
    """Return what a referee would cost; None where none would be asked. Sends nothing.

    Raises:
        ConfigError: when no referee can be reached with these variables.
    """
    if _chosen(recording, request) not in {"referee", "pairwise"}:
        return None
    items, _ = _items(recording, folder, rows)
    method = _method(recording, request)

    async def preview() -> PricePreview:
        endpoint = referee_endpoint(environ)
        async with open_referee(endpoint, folder / "referee.jsonl") as referee:
            return referee.preview(items, method, max_calls=request.max_calls)

    return run_apart(preview())


def judge_rows(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    request: QualityRequest,
    *,
    environ: Mapping[str, str] | None = None,
    on_scores: Callable[[int], None] | None = None,
) -> JudgedRows:
    """Return rows with the quality of their replies, and keep every score in `scores.csv`.

    Args:
        recording: the recorded run.
        folder: the sweep's; its `replies.jsonl` has the texts.
        rows: the sweep's.
        request: whose word counts.
        environ: environment variables for a referee; None takes the process's own.
        on_scores: told how many scores have come, as a referee goes on.

    Raises:
        ConfigError: when the source cannot be had.
        FormatError: when labels cannot be read; names the line.
    """
    items, notices = _items(recording, folder, rows)
    source, labels, judged = _chosen(recording, request), None, None
    scores: list[Score] = []
    if request.labels is not None:
        labels = read_labels(request.labels, rows)
        scores += labels.scores
        notices = (*notices, *labels.notices)
    if source == "truth":
        if not recording.is_simulated:
            raise ConfigError(
                f"{recording.folder} was not simulated, so there is no truth to read: give "
                "--labels, or let a referee judge with --quality referee"
            )
        seed = int(getattr(recording.settings(None), "seed", 0))
        scores += simulated_truth(items, seed=seed)
    elif source in {"referee", "pairwise"}:
        variables = os.environ if environ is None else environ
        method = _method(recording, request)
        judged = run_apart(_referee(folder, items, method, request.max_calls, variables, on_scores))
        scores += judged.scores
        notices = (*notices, *judged.notices)
    with ScoreFile(folder / "scores.csv") as kept:
        kept.add(scores)
    if not scores:
        return JudgedRows(tuple(rows), "", None, notices=notices, judged=judged)
    by = _by(scores, judged, is_labelled=labels is not None)
    own = [score for score in scores if score.by == by]
    return JudgedRows(
        rows=tuple(with_quality(rows, own, by)),
        by=by,
        scale_width=scale_width_of(own),
        scores=tuple(scores),
        judged=judged,
        notices=notices,
    )


def _by(scores: Sequence[Score], judged: Judged | None, *, is_labelled: bool) -> str:
    wanted = "human" if is_labelled else "referee" if judged is not None else None
    return choose_source(scores, wanted) or ""


async def _referee(  # noqa: PLR0917 - one caller, right above
    folder: Path,
    items: Sequence[ReplyItem],
    method: Pointwise | Pairwise,
    max_calls: int | None,
    environ: Mapping[str, str],
    on_scores: Callable[[int], None] | None,
) -> Judged:
    with _counting(folder / "scores.csv", on_scores) as keep:
        async with open_referee(
            referee_endpoint(environ),
            folder / "referee.jsonl",
            secrets=referee_secrets(environ),
        ) as referee:
            judged = await referee.judge(items, method, max_calls=max_calls, on_scores=keep)
    judged.raise_if_stopped()
    return judged


@contextmanager
def _counting(
    path: Path, on_scores: Callable[[int], None] | None
) -> Iterator[Callable[[Sequence[Score]], None]]:
    """Give a function that keeps scores as they come, and tells how many there are."""
    count = 0
    with ScoreFile(path) as file:

        def keep(scores: Sequence[Score]) -> None:
            nonlocal count
            count += len(scores)
            file.add(scores)
            if on_scores is not None:
                on_scores(count)

        yield keep
