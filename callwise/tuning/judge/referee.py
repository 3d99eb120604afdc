"""A referee: a judge of replies that is independent of the search's own judge.

A search returns the reply that its judge scores highest, so that judge's scores of it are too
high (the winner's curse). A referee is another model, or at least another rubric; it never
sees which setting gave a reply; it asks through a budgeter; and its answers are recorded, so that
none is bought twice.

Invariant: the passes are chosen before anything is asked (`plan_passes`), and answers are read
in the order of the passes: the same input gives the same scores at any concurrency. Limits other
than `max_calls` bind as calls come, and do not have that property.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock, SystemClock, VirtualClock
from callwise.budget.counters import CounterValues
from callwise.budget.layers.ledger import RowSink
from callwise.budget.limits import Limits
from callwise.budget.scope import ScopeKind
from callwise.budget.token_estimate import estimator
from callwise.calls.call import Call, Role
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError, CallRefused, ConfigError
from callwise.calls.key import CallKey
from callwise.calls.retry import RetryPolicy
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.safe_text import printable
from callwise.tuning.judge.items import ReplyItem, distinct
from callwise.tuning.judge.methods import (
    JudgeMethod,
    JudgePass,
    JudgingPlan,
    PlannedPass,
    PricePreview,
    plan_passes,
)
from callwise.tuning.judge.referee_answers import AnswersOnlyRecorder, RefereeAnswer, RefereeAnswers
from callwise.tuning.judge.scores import Order, Score
from callwise.tuning.row import ReplyKey

__all__ = ["JudgedReplies", "LostScore", "Referee", "open_referee"]

DEFAULT_MAX_CONCURRENCY = 8

PASSES_PER_STEP = 128
"""Passes that are asked before their scores are handed on."""

MAX_ERROR_CHARS = 200


class LostScore(StrEnum):
    """The reason for which a pass gave no score."""

    PAST_BUDGET = "past the budget"
    """Not asked, or refused. The next run asks it."""
    FAILED = "failed"
    """The endpoint failed or declined. The next run asks again."""
    UNREADABLE = "unreadable"
    """Neither the answer nor its repair has the form. Both are in the recording."""
    STOPPED = "not asked"
    """A fatal error came before it."""
    NOT_JUDGEABLE = "not judgeable"
    """There is nothing to compare the reply with."""


@dataclass(frozen=True, slots=True)
class JudgedReplies:
    """The scores of some replies, the passes without a score, and the cost.

    Args:
        scores: one for each answered question, in the order of the passes.
        lost: the notice that counts the passes without a score; empty where all have one.
        stopped_by: the fatal error that ended it early, or None.
    """

    by: str
    scores: tuple[Score, ...]
    replies: int
    unscored: tuple[ReplyKey, ...]
    losses: Mapping[LostScore, int]
    counts: CounterValues
    notices: tuple[str, ...]
    is_simulated: bool
    stopped_by: CallError | None = None
    lost: str = ""

    def raise_if_stopped(self) -> None:
        """Raise the fatal error that ended the judging, if any, once the scores are kept."""
        if self.stopped_by is not None:
            raise self.stopped_by


def referee_name(method: JudgeMethod, model: str, *, is_simulated: bool = False) -> str:
    """Return the source name of a referee's scores.

    `referee:<model>` for the shipped marks, and `referee:<model>:<rubric>` for every other
    method, so that two methods are never averaged. That of a simulated model contains the word.
    """
    name = f"simulated-{model}" if is_simulated and not model.startswith("simulated") else model
    is_usual = method.kind == "pointwise" and method.rubric.name == "pointwise"
    return f"referee:{name}" if is_usual else f"referee:{name}:{method.rubric.name}"


@dataclass(slots=True)
class _JudgeRun:
    """One run of a plan; `repairs_left` is the most repairs to buy, None for all."""

    answers: RefereeAnswers
    method: JudgeMethod
    plan: JudgingPlan
    model: str
    repairs_left: int | None
    is_simulated: bool
    losses: Counter[LostScore]
    scores: list[Score] = field(default_factory=list)
    settled_counts: Counter[str] = field(default_factory=Counter)
    first_error: dict[LostScore, CallError | None] = field(default_factory=dict)

    @property
    def by(self) -> str:
        return referee_name(self.method, self.model, is_simulated=self.is_simulated)

    async def step(self, planned: Sequence[PlannedPass]) -> list[Score]:
        """Ask some passes, and return their scores in order."""
        calls: dict[CallKey, Call] = {}
        for each in planned:
            questions = zip(each.keys, each.judge_pass.questions, strict=True)
            calls.update({key: question.call for key, question in questions})
        errors = await self.answers.ask(calls)
        bought, repair_errors = await self.answers.repair(calls, max_bought=self.repairs_left)
        if self.repairs_left is not None:
            self.repairs_left -= bought
        errors.update(repair_errors)
        answers = (self.answers.get(key) for key in calls)
        self.is_simulated |= any(answer is not None and answer.is_simulated for answer in answers)
        scores = [score for each in planned for score in self._read(each, errors)]
        self.scores += scores
        return scores

    def judged(self, counts: CounterValues) -> JudgedReplies:
        """Return the scores of all steps."""
        passes = self.plan.passes
        wanted = dict.fromkeys(each.item.key for each in passes)
        scored = {score.reply_key for score in self.scores}
        unscored = tuple(sorted(key for key in wanted if key not in scored))
        lost = ""
        if self.losses:
            parts = [self._part(loss) for loss in LostScore if self.losses[loss]]
            lost = (
                f"{self.losses.total()} of {len(passes)} passes gave no score: "
                f"{'; '.join(parts)}. {len(unscored)} of {len(wanted)} replies have none at all"
            )
        settled = sorted(self.settled_counts.items())
        notices = [f"{count} passes without a call: {why}" for why, count in settled]
        notices += [lost] if lost else []
        if self.is_simulated:
            notices.append("the referee is simulated: its scores prove arithmetic, not quality")
        stopped_by = self.answers.stopped_by
        if stopped_by is not None:
            notices.append("a fatal error ended the judging; what was judged before it is kept")
        return JudgedReplies(
            by=self.by,
            scores=tuple(self.scores),
            replies=len(wanted),
            unscored=unscored,
            losses=dict(self.losses),
            counts=counts,
            notices=tuple(notices),
            is_simulated=self.is_simulated,
            stopped_by=stopped_by,
            lost=lost,
        )

    def _read(self, planned: PlannedPass, errors: dict[CallKey, CallError]) -> list[Score]:
        """Return the scores of one pass; none when one of its questions has no answer."""
        judge_pass = planned.judge_pass
        if judge_pass.settled is not None:
            if judge_pass.settled.value is None:
                self.losses[LostScore.NOT_JUDGEABLE] += 1
                return []
            self.settled_counts[judge_pass.settled.why] += 1
            return [self._score(judge_pass, judge_pass.settled.value, "")]
        answers = [self.answers.get(key) for key in planned.keys]
        scores = []
        for key, answer, question in zip(planned.keys, answers, judge_pass.questions, strict=True):
            if answer is None or answer.parsed is None:
                loss, error = self._loss_of(answer, errors.get(key))
                self.losses[loss] += 1
                self.first_error[loss] = self.first_error.get(loss) or error
                return []
            value = self.method.value(answer.parsed, question.order)
            scores.append(self._score(judge_pass, value, question.order))
        return scores

    def _part(self, loss: LostScore) -> str:
        """Return the number of passes lost for a reason, with its first error."""
        error = self.first_error.get(loss)
        text = f"{self.losses[loss]} {loss}"
        if error is None:
            return text
        message = printable(str(error)[:MAX_ERROR_CHARS])
        return f"{text} (the first with {type(error).__name__}: {message})"

    def _loss_of(
        self, answer: RefereeAnswer | None, error: CallError | None
    ) -> tuple[LostScore, CallError | None]:
        if isinstance(error, CallRefused):
            return LostScore.PAST_BUDGET, error
        if error is not None:
            return LostScore.FAILED, error
        if answer is None:
            return LostScore.STOPPED, self.answers.stopped_by
        loss = LostScore.UNREADABLE if answer.is_repaired else LostScore.PAST_BUDGET
        return loss, answer.unreadable

    def _score(self, judge_pass: JudgePass, value: float, order: Order) -> Score:
        return Score(
            self.by,
            *judge_pass.item.key,
            value,
            *self.method.scale,
            repeat=judge_pass.repeat,
            order=order,
            kind=self.method.kind,
            against=judge_pass.against,
        )


class Referee:
    """Judges replies. Use `open_referee`.

    Args:
        budgeter: its role `judge` is served by `endpoint`, and its recorder is `recording`.

    Raises:
        ConfigError: for a `max_concurrency` below 1.
    """

    def __init__(
        self,
        budgeter: Budgeter,
        endpoint: Endpoint,
        recording: AnswersOnlyRecorder,
        *,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
    ) -> None:
        if max_concurrency < 1:
            raise ConfigError(f"a referee's max_concurrency is at least 1, got {max_concurrency}")
        self.budgeter = budgeter
        self.endpoint = endpoint
        self._answers = RefereeAnswers(budgeter, endpoint, recording, max_concurrency)

    def preview(
        self, items: Iterable[ReplyItem], method: JudgeMethod, *, max_calls: int | None = None
    ) -> PricePreview:
        """Return what `judge` with the same arguments would cost. Asks nothing."""
        plan = self._plan(items, method, max_calls)
        return plan.price(self.endpoint, estimator(self.endpoint.model).call_tokens)

    async def judge(
        self,
        items: Iterable[ReplyItem],
        method: JudgeMethod,
        *,
        max_calls: int | None = None,
        on_scores: Callable[[Sequence[Score]], None] | None = None,
    ) -> JudgedReplies:
        """Return the scores of some replies, and what has none.

        A pass whose calls fail, are refused or cannot be read gives no score; everything
        else goes on. A fatal error (a wrong key, a request that no endpoint takes) ends it:
        the scores until then are returned, with the error as `stopped_by`.

        Args:
            max_calls: most calls to buy, repairs included; None for all. Calls answered
                before do not count.

        Raises:
            ConfigError: for a `max_calls` below 0.
        """
        if max_calls is not None and max_calls < 0:
            raise ConfigError(f"a referee's max_calls is at least 0, got {max_calls}")
        plan = self._plan(items, method, max_calls)
        judging = _JudgeRun(
            self._answers,
            method,
            plan,
            self.endpoint.model,
            repairs_left=None if max_calls is None else max_calls - len(plan.to_buy),
            is_simulated=self.endpoint.client.is_simulated,
            losses=Counter([LostScore.PAST_BUDGET] * len(plan.left_out)),
        )
        with self.budgeter.scope(ScopeKind.NODE, "referee") as scope:
            for start in range(0, len(plan.taken), PASSES_PER_STEP):
                scores = await judging.step(plan.taken[start : start + PASSES_PER_STEP])
                if on_scores is not None and scores:
                    on_scores(scores)
            counts = scope.counts()
        return judging.judged(counts)

    def _plan(
        self, items: Iterable[ReplyItem], method: JudgeMethod, max_calls: int | None
    ) -> JudgingPlan:
        return plan_passes(
            method.passes(distinct(items)),
            key_of=self._answers.key_of,
            is_answered=self._answers.is_answered,
            max_calls=max_calls,
        )


@asynccontextmanager
async def open_referee(
    endpoint: Endpoint,
    cassette_path: Path,
    *,
    limits: Limits | None = None,
    max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
    retry: RetryPolicy | None = None,
    seed: int = 0,
    secrets: Iterable[str] = (),
    sinks: Iterable[RowSink] = (),
    clock: Clock | None = None,
) -> AsyncIterator[Referee]:
    """Open a referee with its recording and its ledger.

    Args:
        endpoint: its client is closed at the end.
        clock: None takes a virtual one for a simulated model, else the system's.

    Raises:
        ConfigError: when a setting cannot work, or another process writes the cassette.
        FormatError: when the file is not a cassette, or is damaged.
        RecordingStopped: at the end, when the disk was too full for an answer.
    """
    if clock is None:
        clock = VirtualClock() if endpoint.client.is_simulated else SystemClock()
    with open_cassette(cassette_path, CassetteMode.NEW_EPISODES) as cassette:
        recording = AnswersOnlyRecorder(cassette)
        budgeter = Budgeter(
            {Role.JUDGE: endpoint},
            clock=clock,
            recorder=recording,
            limits=limits,
            retry=retry,
            seed=seed,
            secrets=secrets,
            sinks=sinks,
        )
        try:
            await budgeter.prepare()
            yield Referee(budgeter, endpoint, recording, max_concurrency=max_concurrency)
        finally:
            await budgeter.aclose()
