"""The judging of a sweep: the source of quality, and the rows with their quality.

Invariant: one source counts for all settings (labels of people, the scores of a referee, or a
known truth), and sources are never mixed. The search's own judge is not a source: it chose the
replies, so its scores of them are too high.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from callwise.budget.limits import Limits
from callwise.calls.call import Outcome
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.recording import Recording
from callwise.tuning.judge.items import ReplyItem, items_of, references_of
from callwise.tuning.judge.labels import read_labels, simulated_truth
from callwise.tuning.judge.methods import JudgeMethod, Pairwise, Pointwise, PricePreview
from callwise.tuning.judge.referee import JudgedReplies, Referee, open_referee
from callwise.tuning.judge.referee_endpoint import (
    PRICES,
    referee_endpoint,
    referee_secrets,
    same_model_notice,
)
from callwise.tuning.judge.referee_rubric import load_rubric
from callwise.tuning.judge.reliability import JudgeReliability, judge_reliabilities
from callwise.tuning.judge.scores import Score, choose_source, scale_of, with_quality
from callwise.tuning.quality_unit import QualityUnit, unit_of
from callwise.tuning.replay_evaluator import run_apart
from callwise.tuning.row import TurnRow
from callwise.tuning.sweep_record import load_sweep
from callwise.tuning.sweep_spec import ObjectiveValues, SweepSpec, mean_figures
from callwise.tuning.sweep_store import SweepScores

__all__ = [
    "JudgedRows",
    "QualityRequest",
    "QualitySource",
    "check_judging",
    "judge_rows",
    "preview_judging",
    "quality_values",
]

_PAID = (Outcome.SERVED, Outcome.FAILED, Outcome.CANCELLED)

QualitySource = Literal["auto", "truth", "referee", "pairwise", "none"]


@dataclass(frozen=True, slots=True)
class QualityRequest:
    """The source of quality, and its limits.

    Args:
        source: `truth` reads the hidden quality of simulated replies; `referee` asks a model
            for marks, `pairwise` for a comparison with the recorded reply; `auto` takes labels
            where they are given, else the truth of a simulated recording, else nothing;
            `none` leaves quality open.
        labels: a CSV file of people's labels, which count before any other source.
        repeats: passes of a referee over each reply; at least 1.
        max_calls: most calls that a referee buys; None for all.
        budget: the spending cap of all purchases of the sweep, which the referee's calls count
            against. None sets no further limit.
        rubric: a file in place of the referee's shipped marks; see `load_rubric`.
    """

    source: QualitySource = "auto"
    labels: Path | None = None
    repeats: int = 1
    max_calls: int | None = None
    budget: SpendingCap | None = field(default=None, compare=False)
    rubric: Path | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a rubric that no referee would read."""
        if self.rubric is not None and self.source != "referee":
            raise ConfigError(
                f"the rubric {self.rubric} is a referee's, and quality is {self.source!r}: add "
                "--quality referee, or leave out --rubric"
            )

    def is_open(self, *, is_simulated: bool) -> bool:
        """Return whether it leaves the quality of a recording's replies open."""
        is_auto = self.source == "auto" and not is_simulated
        return self.labels is None and (self.source == "none" or is_auto)

    @property
    def calls_left(self) -> int | None:
        """Calls that a referee may buy now; None for any number."""
        of_cap = None if self.budget is None else self.budget.calls_left
        known = [each for each in (self.max_calls, of_cap) if each is not None]
        return min(known, default=None)

    def limits(self, referee: Endpoint) -> Limits | None:
        """Return the limit in USD that the spending cap sets; a simulated referee costs nothing.

        Raises:
            ConfigError: when there is one and the referee has no prices.
        """
        usd_left = None if self.budget is None else self.budget.usd_left
        if usd_left is None or referee.client.is_simulated:
            return None
        if referee.prices is None:
            raise ConfigError(
                f"the limit in USD cannot bind the referee {referee.model}, because its prices "
                f"are unknown. Set {PRICES} to its input and output price, or limit the calls "
                "(--max-buy-calls)"
            )
        return Limits(max_usd=usd_left)


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Rows with their quality.

    Args:
        unit: of the quality; its scale is not known where nothing was judged.
        scores: of all sources, those that do not count included.
    """

    rows: tuple[TurnRow, ...]
    by: str
    unit: QualityUnit
    scores: tuple[Score, ...] = field(default=(), repr=False)
    judged: JudgedReplies | None = None
    reliability: tuple[JudgeReliability, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def scale_width(self) -> float | None:
        """The width of the scale of the quality; None where it is not known."""
        return self.unit.width


def _lines(recording: Recording, name: str = "turns.jsonl") -> list[dict[str, Any]]:
    path = recording.folder / name
    data = path.read_bytes() if path.is_file() else b""
    return [orjson.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def _items(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    texts: Mapping[str, str] | None = None,
) -> tuple[list[ReplyItem], tuple[str, ...]]:
    """Return the replies that a real run gives; stand-ins for others are not judged."""
    if texts is None:
        texts = load_sweep(folder).texts()
    exact = [row for row in rows if row.is_reply_exact]
    return items_of(exact, texts.get, _lines(recording))


def _method(recording: Recording, request: QualityRequest) -> JudgeMethod:
    if request.source == "pairwise":
        return Pairwise(references_of(_lines(recording)), repeats=request.repeats)
    if request.rubric is not None:
        return Pointwise(repeats=request.repeats, rubric=load_rubric(request.rubric))
    return Pointwise(repeats=request.repeats)


def _chosen(recording: Recording, request: QualityRequest) -> QualitySource:
    if request.source != "auto":
        return request.source
    return "truth" if recording.is_simulated and request.labels is None else "none"


def _asks_referee(recording: Recording, request: QualityRequest) -> bool:
    return _chosen(recording, request) in {"referee", "pairwise"}


def _endpoint(recording: Recording, environ: Mapping[str, str]) -> Endpoint:
    return referee_endpoint(environ, simulated_seed=_seed(recording))


def preview_judging(
    recording: Recording,
    folder: Path,
    rows: Sequence[TurnRow],
    request: QualityRequest,
    *,
    environ: Mapping[str, str],
) -> PricePreview | None:
    """Return the price of a referee; None where none would be asked. Sends nothing.

    Raises:
        ConfigError: when no referee can be reached with these variables.
    """
    if not _asks_referee(recording, request):
        return None
    items, _ = _items(recording, folder, rows)
    method = _method(recording, request)

    async def preview() -> PricePreview:
        endpoint = _endpoint(recording, environ)
        request.limits(endpoint)
        async with open_referee(endpoint, folder / "referee.jsonl") as referee:
            return referee.preview(items, method, max_calls=request.calls_left)

    return run_apart(preview())


def check_judging(
    recording: Recording, request: QualityRequest, *, environ: Mapping[str, str]
) -> None:
    """Check that the spending cap can bind the referee, where one is asked.

    Raises:
        ConfigError: when they cannot, or no referee can be reached with these variables.
    """
    if _asks_referee(recording, request):
        request.limits(_endpoint(recording, environ))


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

    Raises:
        ConfigError: when the source is not available.
        FormatError: when labels cannot be read; names the line.
    """
    items, notices = _items(recording, folder, rows, texts)
    judged = None
    scores: list[Score] = []
    if request.labels is not None:
        labels = read_labels(request.labels, rows)
        scores += labels.scores
        notices = (*notices, *labels.notices)
    if _chosen(recording, request) == "truth":
        if not recording.is_simulated:
            raise ConfigError(
                f"{recording.folder} was not simulated, so there is no truth to read. Pass "
                "--labels, or let a referee judge with --quality referee"
            )
        scores += simulated_truth(items, seed=_seed(recording))
    elif _asks_referee(recording, request):
        variables = os.environ if environ is None else environ
        method, endpoint = _method(recording, request), _endpoint(recording, variables)
        opening = open_referee(
            endpoint,
            folder / "referee.jsonl",
            limits=request.limits(endpoint),
            secrets=referee_secrets(variables),
        )
        judged = run_apart(_asked(items, method, request, folder, opening, on_scores=on_scores))
        scores += judged.scores
        calls = _lines(recording, "ledger.jsonl")
        search_judge = next((row.get("model") for row in calls if row.get("role") == "judge"), None)
        same = same_model_notice(endpoint, search_judge)
        notices = (*notices, *judged.notices, *((same,) if same else ()))
    with SweepScores(folder) as kept:
        kept.add(scores)
    reliability = judge_reliabilities(
        _lines(recording),
        items,
        scores,
        is_simulated=recording.is_simulated,
        seed=_seed(recording),
    )
    wanted = "human" if request.labels is not None else "referee" if judged is not None else None
    by = choose_source(scores, wanted) if scores else None
    own = [score for score in scores if score.by == by]
    return JudgedRows(
        rows=tuple(with_quality(rows, own, by) if own else rows),
        by=by or "",
        unit=unit_of(by or "", scale_of(own) if own else None),
        scores=tuple(scores),
        judged=judged,
        reliability=reliability,
        notices=notices,
    )


def _seed(recording: Recording) -> int:
    """Return the seed of the simulated model that answered a simulated recording."""
    return int(getattr(recording.settings(None), "seed", 0))


def quality_values(
    recording: Recording, folder: Path, request: QualityRequest, spec: SweepSpec
) -> Callable[[Sequence[TurnRow]], ObjectiveValues]:
    """Return a function from a setting's rows to its objectives; it judges the rows first."""
    means = mean_figures(spec.objectives, spec.min_known_share)
    return lambda rows: means(judge_rows(recording, folder, rows, request).rows)


async def _asked(
    items: Sequence[ReplyItem],
    method: JudgeMethod,
    request: QualityRequest,
    folder: Path,
    opening: AbstractAsyncContextManager[Referee],
    *,
    on_scores: Callable[[int], None] | None,
) -> JudgedReplies:
    """Return a referee's scores; they and its answers are kept in the folder as they come."""
    count = 0
    with SweepScores(folder) as stored:

        def keep(scores: Sequence[Score]) -> None:
            nonlocal count
            count += len(scores)
            stored.add(scores)
            if on_scores is not None:
                on_scores(count)

        async with opening as referee:
            if request.budget is not None:
                request.budget.opened(referee.budgeter)
            try:
                judged = await referee.judge(
                    items, method, max_calls=request.calls_left, on_scores=keep
                )
            finally:
                counts = referee.budgeter.ledger.counts()
                if request.budget is not None:
                    calls = sum(counts.outcomes[outcome] for outcome in _PAID)
                    request.budget.spend(calls, counts.usage.usd, counts.usage.unknown_usd)
    judged.raise_if_stopped()
    return judged
