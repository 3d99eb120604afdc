"""A referee: a judge of replies that stands apart from the search's own.

A search picks the reply that its judge likes best, so that judge's scores of it are too
good (the winner's curse). A referee is another model, or at least another rubric; it never
sees which setting gave a reply; it asks through a budgeter like everybody else; and it
records what it is told, so that nothing is bought twice.

Invariant: which looks are taken is decided before anything is asked (`planning`), and
answers are read in the order of the looks: the same input gives the same scores at any
concurrency. Limits other than `max_calls` bind as calls come, and do not have that property.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from turnwise.budget.budgeter import Budgeter
from turnwise.budget.clock import Clock, SystemClock, VirtualClock
from turnwise.budget.layers.ledger import RowSink
from turnwise.budget.limits import Limits
from turnwise.budget.scope import ScopeKind
from turnwise.budget.token_estimate import estimator
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import ConfigError
from turnwise.calls.retry import RetryPolicy
from turnwise.calls.vocabulary import Role
from turnwise.replay.cassette import CassetteMode, open_cassette
from turnwise.tune.quality.answers import AnswerBook
from turnwise.tune.quality.items import ReplyItem, distinct
from turnwise.tune.quality.judged import Judged
from turnwise.tune.quality.judging import Judging
from turnwise.tune.quality.looks import Method
from turnwise.tune.quality.planning import JudgingPlan, PricePreview, plan_looks, preview_of
from turnwise.tune.quality.recording import AnswersOnly
from turnwise.tune.quality.scores import Score

__all__ = ["DEFAULT_MAX_CONCURRENCY", "Referee", "open_referee"]

DEFAULT_MAX_CONCURRENCY = 8

LOOKS_A_STEP = 128
"""How many looks are asked before their scores are handed on."""


class Referee:
    """Judges replies. Use `open_referee`.

    Args:
        budgeter: its role `judge` is served by `endpoint`, and its recorder is `recording`.
        endpoint: who judges.
        recording: what was answered before.
        max_concurrency: most calls in flight; at least 1.

    Raises:
        ConfigError: for a `max_concurrency` below 1.

    Attributes:
        budgeter: its ledger has a row for every call.
        endpoint: who judges.
    """

    def __init__(
        self,
        budgeter: Budgeter,
        endpoint: Endpoint,
        recording: AnswersOnly,
        *,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
    ) -> None:
        if max_concurrency < 1:
            raise ConfigError(f"a referee's max_concurrency is at least 1, got {max_concurrency}")
        self.budgeter = budgeter
        self.endpoint = endpoint
        self._book = AnswerBook(budgeter, endpoint, recording, max_concurrency=max_concurrency)

    def preview(
        self, items: Iterable[ReplyItem], method: Method, *, max_calls: int | None = None
    ) -> PricePreview:
        """Return what judging these replies would cost. Asks nothing.

        Args:
            items: as for `judge`.
            method: as for `judge`.
            max_calls: as for `judge`.
        """
        plan = self._plan(items, method, max_calls)
        return preview_of(plan, self.endpoint, estimator(self.endpoint.model).call_tokens)

    async def judge(
        self,
        items: Iterable[ReplyItem],
        method: Method,
        *,
        max_calls: int | None = None,
        on_scores: Callable[[Sequence[Score]], None] | None = None,
    ) -> Judged:
        """Return the scores of some replies, and what has none.

        A look whose calls fail, are refused or cannot be read gives no score; everything
        else goes on. A fatal error (a wrong key, a request that no endpoint takes) ends it:
        what was judged until then is returned, with the error as `stopped_by`.

        Args:
            items: replies in any order; equal ones on one turn are judged once.
            method: how.
            max_calls: most calls to buy, repairs included; None for all. Calls answered
                before do not count.
            on_scores: told new scores step by step, in order, so that they can be kept.

        Raises:
            ConfigError: for a `max_calls` below 0.
        """
        if max_calls is not None and max_calls < 0:
            raise ConfigError(f"a referee's max_calls is at least 0, got {max_calls}")
        plan = self._plan(items, method, max_calls)
        judging = Judging(
            self._book,
            method,
            plan,
            endpoint=self.endpoint,
            max_repairs=None if max_calls is None else max_calls - plan.bought_calls,
        )
        with self.budgeter.scope(ScopeKind.NODE, "referee") as scope:
            for start in range(0, len(plan.taken), LOOKS_A_STEP):
                scores = await judging.step(plan.taken[start : start + LOOKS_A_STEP])
                if on_scores is not None and scores:
                    on_scores(scores)
            counts = scope.counts()
        return judging.judged(counts)

    def _plan(
        self, items: Iterable[ReplyItem], method: Method, max_calls: int | None
    ) -> JudgingPlan:
        return plan_looks(
            method.looks(distinct(items)),
            key_of=self._book.key_of,
            is_answered=self._book.is_answered,
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
    """Open a referee with a recording and a ledger of its own.

    Args:
        endpoint: who judges. Its client is closed at the end.
        cassette_path: what it is told is recorded here, and played from here; made when it
            is not there.
        limits: further limits, in tokens or USD.
        max_concurrency: most calls in flight; at least 1.
        retry: when a failed attempt is tried again.
        seed: of the retries' jitter.
        secrets: keys, kept out of every error.
        sinks: told each ledger row.
        clock: None takes a virtual one for a simulated model, else the system's.

    Raises:
        ConfigError: when a setting cannot work, or another process records there.
        FormatError: when the cassette is something else, or damaged.
        RecordingStopped: at the end, when the disk had no room for an answer.
    """
    if clock is None:
        clock = VirtualClock() if endpoint.client.is_simulated else SystemClock()
    with open_cassette(cassette_path, CassetteMode.NEW_EPISODES) as cassette:
        recording = AnswersOnly(cassette)
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
