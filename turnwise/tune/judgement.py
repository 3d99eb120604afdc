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

from turnwise.budget.counters import Counts
from turnwise.budget.limits import Limits
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import ConfigError
from turnwise.calls.vocabulary import Outcome
from turnwise.replay.counterfactual.purchase import Purse
from turnwise.replay.recording import Recording
from turnwise.tune.counterfactual import run_apart
from turnwise.tune.judge_report import judge_reliabilities
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
from turnwise.tune.quality.referee_endpoint import PRICES, referee_secrets, same_model_notice
from turnwise.tune.row import TurnRow
from turnwise.tune.statistics.reliability import JudgeReliability
from turnwise.tune.sweeps.objectives import Values, mean_figures
from turnwise.tune.sweeps.sweep_spec import SweepSpec

__all__ = [
    "JudgedRows",
    "QualityRequest",
    "QualitySource",
    "check_judging",
    "judge_rows",
    "preview_judging",
    "quality_values",
]

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
        purse: what a referee may spend together with all other purchases of the sweep; its
            calls are taken off it. None sets no further limit.
    """

    source: QualitySource = "auto"
    labels: Path | None = None
    repeats: int = 1
    max_calls: int | None = None
    purse: Purse | None = field(default=None, compare=False)

    @property
    def calls_left(self) -> int | None:
        """Calls that a referee may buy now; None for any number."""
        of_purse = None if self.purse is None else self.purse.calls_left
        known = [each for each in (self.max_calls, of_purse) if each is not None]
        return min(known, default=None)

    def limits(self, referee: Endpoint) -> Limits | None:
        """Return the limit in USD that the purse sets; a simulated referee costs nothing.

        Raises:
            ConfigError: when there is one and the referee has no prices.
        """
        usd_left = None if self.purse is None else self.purse.usd_left
        if usd_left is None or referee.client.is_simulated:
            return None
        if referee.prices is None:
            raise ConfigError(
                f"the limit in USD cannot bind the referee {referee.model}, because its prices "
                f"are unknown: set {PRICES} to its input and output price, or limit the calls "
                "(--max-buy-calls)"
            )
        return Limits(max_usd=usd_left)


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
    reliability: tuple[JudgeReliability, ...] = ()
    notices: tuple[str, ...] = ()


def _lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    return [orjson.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def _items(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    texts: Mapping[str, str] | None = None,
) -> tuple[list[ReplyItem], tuple[str, ...]]:
    """Return the replies that a real run gives; what stands in for others is not judged."""
    if texts is None:
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
        endpoint = referee_endpoint(environ, simulated_seed=_seed(recording))
        request.limits(endpoint)
        async with open_referee(endpoint, folder / "referee.jsonl") as referee:
            return referee.preview(items, method, max_calls=request.calls_left)

    return run_apart(preview())


def check_judging(
    recording: Recording, request: QualityRequest, *, environ: Mapping[str, str]
) -> None:
    """Do nothing when the limits of the purse can bind a referee, where one is asked.

    Raises:
        ConfigError: when they cannot, or no referee can be reached with these variables.
    """
    if _chosen(recording, request) in {"referee", "pairwise"}:
        request.limits(referee_endpoint(environ, simulated_seed=_seed(recording)))


def judge_rows(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    request: QualityRequest,
    *,
    texts: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    on_scores: Callable[[int], None] | None = None,
) -> JudgedRows:
    """Return rows with the quality of their replies, and keep every score in `scores.csv`.

    Args:
        recording: the recorded run.
        folder: the sweep's.
        rows: the sweep's.
        request: whose word counts.
        texts: replies by id; None takes the folder's `replies.jsonl`.
        environ: environment variables for a referee; None takes the process's own.
        on_scores: told how many scores have come, as a referee goes on.

    Raises:
        ConfigError: when the source cannot be had.
        FormatError: when labels cannot be read; names the line.
    """
    items, notices = _items(recording, folder, rows, texts)
    source, judged = _chosen(recording, request), None
    scores: list[Score] = []
    if request.labels is not None:
        labels = read_labels(request.labels, rows)
        scores += labels.scores
        notices = (*notices, *labels.notices)
    if source == "truth":
        _require_simulated(recording)
        scores += simulated_truth(items, seed=_seed(recording))
    elif source in {"referee", "pairwise"}:
        variables = os.environ if environ is None else environ
        method = _method(recording, request)
        endpoint = referee_endpoint(variables, simulated_seed=_seed(recording))
        judging = _Judging(folder, endpoint, referee_secrets(variables), on_scores)
        judged = run_apart(judging.judge(items, method, request))
        scores += judged.scores
        same = same_model_notice(endpoint, _judge_model(recording))
        notices = (*notices, *judged.notices, *((same,) if same else ()))
    with ScoreFile(folder / "scores.csv") as kept:
        kept.add(scores)
    reliability = judge_reliabilities(
        _lines(recording.folder / "turns.jsonl"),
        items,
        scores,
        is_simulated=recording.is_simulated,
        seed=_seed(recording),
    )
    if not scores:
        return JudgedRows(
            tuple(rows), "", None, judged=judged, reliability=reliability, notices=notices
        )
    by = _by(scores, judged, is_labelled=request.labels is not None)
    own = [score for score in scores if score.by == by]
    return JudgedRows(
        rows=tuple(with_quality(rows, own, by)),
        by=by,
        scale_width=scale_width_of(own),
        scores=tuple(scores),
        judged=judged,
        reliability=reliability,
        notices=notices,
    )


def _seed(recording: Recording) -> int:
    """Return the seed of the simulated model that answered a simulated recording."""
    return int(getattr(recording.settings(None), "seed", 0))


def _judge_model(recording: Recording) -> str | None:
    """Return the model that the search judged with, as the run's ledger has it."""
    path = recording.folder / "ledger.jsonl"
    rows = _lines(path) if path.is_file() else []
    return next((row.get("model") for row in rows if row.get("role") == "judge"), None)


def quality_values(
    recording: Recording, folder: Path, request: QualityRequest, spec: SweepSpec
) -> Callable[[Sequence[TurnRow]], Values]:
    """Return what an adaptive sampler is told of a setting: its rows are judged first.

    Args:
        recording: the recorded run.
        folder: the sweep's.
        request: whose word counts. A referee is asked as the sweep goes on.
        spec: the sweep; its objectives are told.
    """
    means = mean_figures(spec.objectives, spec.min_known_share)

    def values(rows: Sequence[TurnRow]) -> Values:
        return means(judge_rows(recording, folder, rows, request).rows)

    return values


def _require_simulated(recording: Recording) -> None:
    if not recording.is_simulated:
        raise ConfigError(
            f"{recording.folder} was not simulated, so there is no truth to read: give "
            "--labels, or let a referee judge with --quality referee"
        )


def _by(scores: Sequence[Score], judged: Judged | None, *, is_labelled: bool) -> str:
    wanted = "human" if is_labelled else "referee" if judged is not None else None
    return choose_source(scores, wanted) or ""


@dataclass(frozen=True, slots=True)
class _Judging:
    """A referee's work on a sweep.

    Args:
        folder: the sweep's; scores and answers are kept there as they come.
        endpoint: who judges.
        secrets: keys, kept out of every error.
        on_scores: told how many scores there are.
    """

    folder: Path
    endpoint: Endpoint
    secrets: tuple[str, ...]
    on_scores: Callable[[int], None] | None

    async def judge(
        self, items: Sequence[ReplyItem], method: Pointwise | Pairwise, request: QualityRequest
    ) -> Judged:
        """Return what came of it, and take what it cost off the purse.

        Raises:
            CallError: a fatal one; the scores until then are kept.
        """
        with _counting(self.folder / "scores.csv", self.on_scores) as keep:
            opened = open_referee(
                self.endpoint,
                self.folder / "referee.jsonl",
                limits=request.limits(self.endpoint),
                secrets=self.secrets,
            )
            async with opened as referee:
                try:
                    judged = await referee.judge(
                        items, method, max_calls=request.calls_left, on_scores=keep
                    )
                finally:
                    if request.purse is not None:
                        _take_off(request.purse, referee.budgeter.ledger.counts())
        judged.raise_if_stopped()
        return judged


def _take_off(purse: Purse, counts: Counts) -> None:
    outcomes = (Outcome.SERVED, Outcome.FAILED, Outcome.CANCELLED)
    calls = sum(counts.outcomes[outcome] for outcome in outcomes)
    purse.spend(calls, counts.usage.usd, counts.usage.unknown_usd)


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
