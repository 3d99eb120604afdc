"""The way of one submission to its results.

It goes through its states, each of them on disk before the request that begins it:

    prepared   its calls are chosen; a file of them is uploaded, which buys nothing
    creating   its batch is created, or may have been: that is not known yet
    created    its batch is asked at growing intervals whether it has ended
    adopted    the same of a batch that was found by its size alone; its results show whose it is
    ended      its results are stored

Problem: a request that creates a batch, and whose answer does not come, may have bought it.
Choice: it is not sent again. The provider's list of batches is searched for it, and it is created
again only where the list does not have it; so after a crash as well.
Rejected: an idempotency key, which neither provider promises for batches.

Polling is all that the providers offer to a program without an address; its waits are on the
clock, and it ends: after `max_batch_seconds`, or an hour of a state that is not known here, the
calls of a batch end in `BatchUnfinished`. It stays on disk, for the next that asks for them.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from callwise.budget.batch_api.background_queue import BackgroundQueue
from callwise.budget.batch_api.store import KeptSubmission
from callwise.budget.clock import Clock
from callwise.calls.batch_interface import (
    BatchApi,
    BatchLine,
    BatchState,
    LineResult,
    PayRequest,
)
from callwise.calls.errors import (
    BadResponse,
    BatchUnfinished,
    CallError,
    CallTimeout,
    ConnectionFailed,
    EndpointError,
    ServerFailed,
    WrongAddress,
)
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.reply import ReportedUsage

__all__ = ["NOTHING_BOUGHT", "BatchCarrier", "EndedBatch"]

ResultT = TypeVar("ResultT")

POLL_GROWTH = 1.5
"""Growth of the time between two questions whether a batch has ended."""

MAX_TRIES = 6
"""Most requests for something that buys nothing: an upload, a page of the list, a result."""

MAX_FAILED_POLLS = 20
"""Most failed questions in a row whether a batch has ended, before its calls fail."""

MAX_CREATIONS = 4
"""Most requests that create one batch, each after the list did not have it."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Longest wait that a refusal may ask for."""

MAX_UNKNOWN_SECONDS = 3600.0
"""Longest time that a batch is asked about in a state that is not known here."""

_NOT_FOUND = 404

_NO_BATCHES = "Or has it no interface for batches? Then leave --batch out, or its load.background"
"""Way out where nothing answers at the address of uploads."""

_LOGGER = logging.getLogger(__name__)

_MAY_HAVE_ARRIVED: tuple[type[EndpointError], ...] = (
    ConnectionFailed,
    CallTimeout,
    ServerFailed,
    BadResponse,
)
"""Errors after which a request that was sent may have been carried out."""


class EndedBatch(NamedTuple):
    """A batch that has ended, or that its provider no longer has.

    Args:
        state: as the provider reports it; None where it no longer has it, or its results.
    """

    submission: KeptSubmission
    state: BatchState | None
    results: Sequence[LineResult]


class BatchCarrier:
    """Takes submissions to their ends, each in the task of its caller.

    Attributes:
        counts: batches that were created or found, and questions whether one has ended.
    """

    def __init__(
        self, api: BatchApi, knobs: BackgroundKnobs, queue: BackgroundQueue, clock: Clock
    ) -> None:
        self._api = api
        self._knobs = knobs
        self._queue = queue
        self._clock = clock
        self._foreign: set[str] = set()
        self.counts = {"batches": 0, "polls": 0}

    async def carry(
        self,
        submission: KeptSubmission,
        lines: Sequence[BatchLine],
        *,
        pay: PayRequest,
        on_begin: Callable[[], None],
    ) -> EndedBatch:
        """Return the batch of a submission once it has ended.

        Args:
            pay: pays for each request.
            on_begin: called before anything that the batch may exist after.

        Raises:
            CallError: when it was refused; then its calls wait again. Or when it is not known
                whether it was created or has ended, which the next attempt finds out.
            BatchUnfinished: when it is not asked any more whether it has ended.
        """
        api = self._api.paid_by(pay)
        must_find, waits = submission.state == "creating", False
        if submission.state == "prepared":
            submission = await self._prepare(api, submission, lines)
        on_begin()
        while True:
            if submission.state == "creating":
                submission = await self._create(api, submission, lines, must_find=must_find)
                self.counts["batches"] += 1
                waits = submission.state == "created"
            ended = await self._ended(api, submission, waits=waits)
            if submission.state != "adopted" or _is_of(lines, ended):
                return ended
            self._foreign.add(submission.batch_id)
            submission = await self._noted(submission, "creating", batch_id="")
            must_find = True

    async def _prepare(
        self, api: BatchApi, submission: KeptSubmission, lines: Sequence[BatchLine]
    ) -> KeptSubmission:
        """Upload the lines, and note the newest batch before theirs."""
        submitted = submission.submitted
        try:
            file_id = await self._insist(lambda: api.upload(submitted.name, submitted.path, lines))
            marker = await self._insist(api.newest)
        except CallError as error:
            error.usage = NOTHING_BOUGHT
            if isinstance(error, WrongAddress):
                error.args = (f"{error} {_NO_BATCHES}",)
            await self._give_back(submission)
            raise
        return await self._noted(submission, "creating", file_id=file_id, marker=marker)

    async def _create(
        self,
        api: BatchApi,
        submission: KeptSubmission,
        lines: Sequence[BatchLine],
        *,
        must_find: bool,
    ) -> KeptSubmission:
        """Create the batch of a submission, or find it."""
        problem: CallError | None = None
        for _ in range(MAX_CREATIONS):
            if must_find:
                await self._clock.sleep(self._knobs.settle_seconds)
                batch_id = await self._found(api, submission)
                if batch_id:
                    state = "created" if api.names_batches else "adopted"
                    return await self._noted(submission, state, batch_id=batch_id)
            try:
                batch_id = await api.create(submission.submitted, lines)
            except CallError as error:
                problem = error
                must_find = _may_have_arrived(error)
                if not (must_find or error.is_retryable):
                    break
                await self._clock.sleep(self._wait_after(error))
            else:
                return await self._noted(submission, "created", batch_id=batch_id)
        if not must_find:
            await self._give_back(submission)
            if problem is not None:
                problem.usage = NOTHING_BOUGHT
        raise problem or BadResponse(f"the batch {submission.submitted.name} cannot be created")

    async def _found(self, api: BatchApi, submission: KeptSubmission) -> str:
        """Return the id of a batch that may be a submission's; empty for none."""
        known = await self._queue.run(lambda store: store.batch_ids()) | self._foreign
        found = await self._insist(lambda: api.find(submission.submitted, known))
        return found[0] if found else ""

    async def _ended(self, api: BatchApi, submission: KeptSubmission, *, waits: bool) -> EndedBatch:
        """Return a batch once it has ended.

        Args:
            waits: wait before the first question: it was created just now.
        """
        state = await self._last_state(api, submission, waits=waits)
        if state is None or state.has_failed:
            return EndedBatch(submission, state, ())
        try:
            results = await self._insist(lambda: api.results(state), may_appear=True)
        except CallError as error:
            if not _is_missing(error):
                raise
            # They were deleted. Kept for the next attempt, they would end each later run as well.
            return EndedBatch(submission, None, ())
        return EndedBatch(submission, state, results)

    async def _last_state(
        self, api: BatchApi, submission: KeptSubmission, *, waits: bool
    ) -> BatchState | None:
        """Return a batch that has ended or failed; None where its provider does not have it.

        Raises:
            BatchUnfinished: when that has taken too long.
        """
        interval = self._knobs.first_poll_seconds
        patience = _Patience(submission.batch_id, self._clock, self._knobs.max_batch_seconds)
        failed = missing = 0
        while True:
            if waits:
                await self._clock.sleep(interval)
                interval = min(interval * POLL_GROWTH, self._knobs.max_poll_seconds)
            waits = True
            self.counts["polls"] += 1
            try:
                state = await api.state(submission.batch_id)
            except CallError as error:
                failed += 1
                is_missing = _is_missing(error)
                missing = missing + 1 if is_missing else 0
                if missing >= MAX_TRIES:
                    return None
                if failed >= MAX_FAILED_POLLS or not (error.is_retryable or is_missing):
                    raise
                patience.check()
                continue
            failed = missing = 0
            if state.has_failed or state.has_ended:
                return state
            patience.check(state)

    async def _insist(
        self, ask: Callable[[], Awaitable[ResultT]], *, may_appear: bool = False
    ) -> ResultT:
        """Return what a request that buys nothing brings, trying again while that may help.

        Args:
            may_appear: what the provider does not have may be there a little later.
        """
        for left in reversed(range(MAX_TRIES)):
            try:
                return await ask()
            except CallError as error:
                may_help = error.is_retryable or (may_appear and _is_missing(error))
                if not (left and may_help):
                    raise
                await self._clock.sleep(self._wait_after(error) * (MAX_TRIES - left))
        raise AssertionError("the last attempt returns or raises")

    def _wait_after(self, error: CallError) -> float:
        """Return how long to wait after a failed request, as long as it asks to."""
        asked: float = getattr(error, "retry_after_seconds", None) or 0.0
        return min(max(asked, self._knobs.first_poll_seconds), MAX_RETRY_AFTER_SECONDS)

    async def _noted(self, submission: KeptSubmission, state: str, **facts: str) -> KeptSubmission:
        """Store a new state of a submission, and return it."""
        noted = submission.noted(state, **facts)
        await self._queue.run(lambda store: store.note(noted))
        return noted

    async def _give_back(self, submission: KeptSubmission) -> None:
        """End a submission of which nothing was bought; its calls wait again."""
        await self._queue.run(lambda store: store.end(submission.submission_id, {}))


class _Patience:
    """Limit on the time in which a batch is asked whether it has ended."""

    def __init__(self, batch_id: str, clock: Clock, max_seconds: float) -> None:
        self._batch_id = batch_id
        self._clock = clock
        self._began = clock.now()
        self._max_seconds = max_seconds
        self._word: str | None = None
        self._unknown_since: float | None = None

    def check(self, state: BatchState | None = None) -> None:
        """Note a batch that has not ended; None where the question failed.

        Raises:
            BatchUnfinished: when this has taken too long.
        """
        now = self._clock.now()
        if state is not None and state.is_known:
            self._unknown_since = self._word = None
        elif state is not None:
            if self._unknown_since is None:
                self._unknown_since = now
            if state.word != self._word:
                self._word = state.word
                _LOGGER.warning(
                    "batch %s is in a state that is not known here: %.60r",
                    self._batch_id,
                    state.word,
                )
            if now - self._unknown_since >= MAX_UNKNOWN_SECONDS:
                raise self._unfinished(
                    f"its state was {state.word[:60]!r} for {MAX_UNKNOWN_SECONDS:g} s, which is "
                    "not known here"
                )
        if now - self._began >= self._max_seconds:
            raise self._unfinished(
                f"it had not ended after {self._max_seconds:g} s "
                "(load.background.max_batch_seconds)"
            )

    def _unfinished(self, problem: str) -> BatchUnfinished:
        return BatchUnfinished(
            f"batch {self._batch_id}: {problem}. It is kept in the queue: see its state at the "
            "provider, and ask the same calls again to fetch its answers; nothing is bought again"
        )


NOTHING_BOUGHT = ReportedUsage(0, 0)
"""Usage of a submission that was not created."""


def _may_have_arrived(error: CallError) -> bool:
    return isinstance(error, _MAY_HAVE_ARRIVED) and error.was_sent


def _is_missing(error: CallError) -> bool:
    return getattr(error, "status", None) == _NOT_FOUND


def _is_of(lines: Sequence[BatchLine], ended: EndedBatch) -> bool:
    """Return whether the results of a batch are those of some lines."""
    own = {line.custom_id for line in lines}
    return not own.isdisjoint(each.custom_id for each in ended.results)
