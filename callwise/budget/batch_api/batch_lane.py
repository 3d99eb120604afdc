"""The lane of one endpoint to its provider's batch interface.

Calls that wait are sent together once no further one has come for a while; see `carrier` for what
becomes of a submission.

Invariant: a line is in one batch at a time, and goes into another one only where the first has
certainly not run it: the batch was refused, has expired, or was cancelled before that line.
A line without an answer in a batch that has ended otherwise is `AnswerLost`, not sent again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import orjson

from callwise.budget.batch_api.background_queue import BackgroundQueue
from callwise.budget.batch_api.carrier import NOTHING_BOUGHT, BatchCarrier, EndedBatch
from callwise.budget.batch_api.store import Kept, KeptSubmission, QueuedCall
from callwise.budget.clock import Clock, Timer
from callwise.budget.work import Work
from callwise.calls.batch_interface import BatchApi, BatchClient, BatchLine, BatchState, LineResult
from callwise.calls.client import Endpoint
from callwise.calls.errors import (
    AnswerLost,
    BatchUnfinished,
    CallError,
    CallRefused,
    CallTimeout,
    RateLimited,
)
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.reply import Reply

__all__ = ["BatchLane"]

MAX_UNNAMED_FAILURES = 32
"""Most batches in a row that are refused without naming a line, and sent again in halves."""

FRAME_BYTES = 160
"""Bytes that a line has around its body, at most."""

_LOST = "callwise_answer_lost"
"""Code of a result that no provider has sent."""

_LOGGER = logging.getLogger(__name__)


class _Waiter:
    """A call that waits in the lane."""

    __slots__ = ("accepted_at_seconds", "future", "path", "resends", "work")

    def __init__(self, work: Work, path: str, now_seconds: float) -> None:
        self.work = work
        self.path = path
        self.accepted_at_seconds = now_seconds
        self.resends = 0
        self.future: asyncio.Future[LineResult] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it with an error; one that others get as well is copied."""
        if not self.future.done():
            self.future.set_exception(copy(error) if isinstance(error, CallError) else error)

    def refuse(self, refusal: CallRefused) -> None:
        """End it for lack of quota for the request that creates its batch: nothing was bought."""
        if self.work.sent_count:  # it has paid for the upload
            error = BatchUnfinished(f"its batch was not created: {refusal}")
            error.usage = NOTHING_BOUGHT
            self.fail(error)
        elif not self.future.done():
            own = self.work.reserve_next_request()
            facts = refusal.limit_value, refusal.used_value, refusal.asked_value
            self.future.set_exception(own or CallRefused(refusal.scope, refusal.limit, *facts))


class BatchLane:
    """The background calls of one endpoint. All methods belong to the event loop of its queue.

    Attributes:
        queue: where its calls and submissions are.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: BatchClient,
        knobs: BackgroundKnobs,
        queue: BackgroundQueue,
        *,
        api: BatchApi,
        clock: Clock,
    ) -> None:
        self._name = f"{endpoint.name} {endpoint.model}"
        self._model = knobs.model or endpoint.model
        self._client = client
        self._api = api
        self._knobs = knobs
        self.queue = queue
        self._clock = clock
        self._carrier = BatchCarrier(api, knobs, queue, clock)
        self._max_lines = min(knobs.max_lines, api.max_lines)
        self._waiters: dict[int, _Waiter] = {}
        self._waiting: dict[int, int] = {}
        self._first_seconds = self._last_seconds = 0.0
        self._timer: Timer | None = None
        self._unclear: list[int] = []
        self._carried: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unnamed_failures = 0
        self._counts = dict.fromkeys(("accepted", "resumed", "resent", "lost", "requests"), 0)

    @property
    def counts(self) -> Mapping[str, int]:
        """Calls in the lane now, and what it has counted since it was made."""
        return {"queued": len(self._waiters), **self._counts, **self._carrier.counts}

    async def answer(self, work: Work) -> Reply:
        """Return the reply of a batch to one attempt.

        Raises:
            CallError: the line's, or what ended its submission.
            CallTimeout: when its deadline has come first. Its answer is kept for an equal call.
        """
        call = work.sent_call
        path, body = self._client.batch_line(call, model=work.endpoint.model)
        line_body = self._api.line_body(body, model=self._model)
        kept = await self.queue.accept(QueuedCall(self._name, work.key, path, line_body))
        self._counts["accepted"] += 1
        waiter = self._waiters[kept.call_id] = _Waiter(work, path, self._clock.now())
        deadline: Timer | None = None
        is_given = False
        try:
            if work.left_seconds is not None:
                due = self._clock.now() + work.left_seconds
                deadline = self._clock.call_at(due, partial(_expire, waiter))
            self._place(kept, waiter)
            result = await waiter.future
            is_given = True
        finally:
            del self._waiters[kept.call_id]
            self._waiting.pop(kept.call_id, None)
            if deadline is not None:
                deadline.cancel()
            if is_given:
                self.queue.take(kept.call_id)
            else:
                self.queue.release(kept.call_id)
        if result.code == _LOST:
            raise AnswerLost(f"batch {result.body} ended without an answer to this call")
        answer = self._client.batch_answer(call, body, result)
        if isinstance(answer, CallError):
            raise answer
        return replace(answer, chunks=(answer.text,)) if call.stream and answer.text else answer

    async def aclose(self) -> None:
        """Stop asking. What was accepted and submitted stays on disk."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # Calls that wait.

    def _place(self, kept: Kept, waiter: _Waiter) -> None:
        """Let a call wait for what its state needs."""
        if kept.state == "waiting":
            self._wait({kept.call_id: kept.size})
            return
        if kept.state == "answered" and kept.result is not None:
            self._counts["resumed"] += 1
            waiter.work.was_carried = True
            result, batch_id, size = _unpacked(kept.result)
            self._give(waiter, result, batch_id, size)
            return
        self._unclear.append(kept.call_id)
        if len(self._unclear) == 1:
            self._begin(self._resume(), self._unclear)

    def _wait(self, sizes: Mapping[int, int]) -> None:
        """Let calls wait for others that are sent with them; `sizes` are those of their bodies."""
        now = self._last_seconds = self._clock.now()
        if not self._waiting:
            self._first_seconds = now
        self._waiting.update(sizes)
        if len(self._waiting) >= self._max_lines:
            self._send_waiting()
        elif self._timer is None:
            self._timer = self._clock.call_at(self._due(), self._on_timer)

    def _due(self) -> float:
        latest = self._first_seconds + self._knobs.max_wait_seconds
        return min(self._last_seconds + self._knobs.quiet_seconds, latest)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiting and self._clock.now() < self._due():
            self._timer = self._clock.call_at(self._due(), self._on_timer)
        else:
            self._send_waiting()

    def _send_waiting(self) -> None:
        """Begin a submission for each group of calls that fits into one."""
        waiting, self._waiting = self._waiting, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

        def path_of(call_id: int) -> str:
            return self._waiters[call_id].path

        for path, call_ids in groupby(sorted(waiting, key=lambda i: (path_of(i), i)), path_of):
            for chunk in self._chunks(call_ids, waiting):
                self._begin(self._submit(path, chunk), chunk)

    def _chunks(self, call_ids: Iterable[int], sizes: Mapping[int, int]) -> list[list[int]]:
        chunks: list[list[int]] = []
        left_bytes = 0
        for call_id in call_ids:
            size = sizes[call_id] + FRAME_BYTES
            if not chunks or len(chunks[-1]) >= self._max_lines or size > left_bytes:
                chunks.append([])
                left_bytes = self._knobs.max_bytes
            chunks[-1].append(call_id)
            left_bytes -= size
        return chunks

    # Submissions.

    async def _submit(self, path: str, call_ids: Sequence[int]) -> None:
        self._pay(call_ids, True)  # where there is no quota for a batch, nothing is uploaded
        submission = await self.queue.run(
            lambda store: store.submit(self._name, self._model, path, call_ids)
        )
        await self._carry(submission)

    async def _resume(self) -> None:
        """Go on with the submissions on disk, and give calls what came for them meanwhile."""
        await asyncio.sleep(0)  # those that were accepted together are placed by now
        unclear, self._unclear = self._unclear, []
        for submission in await self.queue.run(lambda store: store.submissions(self._name)):
            if submission.submission_id not in self._carried:
                self._begin(self._carry(submission), ())
        for kept in await self.queue.run(lambda store: store.kept(unclear)):
            waiter = self._waiters.get(kept.call_id)
            if waiter is None or waiter.future.done():
                continue
            if kept.state == "submitted":
                self._counts["resumed"] += 1
                waiter.work.was_carried = True
            else:
                self._place(kept, waiter)

    async def _carry(self, submission: KeptSubmission) -> None:
        """Take a submission to its end, and give its calls what came."""
        submission_id = submission.submission_id
        self._carried.add(submission_id)
        lines: dict[int, BatchLine] = {}
        try:
            lines = await self.queue.run(lambda store: store.lines(submission_id))
            ended = await self._carrier.carry(
                submission,
                tuple(lines.values()),
                pay=lambda may_buy: self._pay(lines, may_buy),
                on_begin=lambda: self._note_begun(submission.submitted.name, lines),
            )
            if ended.state is not None and ended.state.has_failed:
                await self._settle_refused(ended, ended.state, lines)
            else:
                await self._settle(ended, lines)
        except Exception as error:  # noqa: BLE001 - its callers get it
            self._fail(lines, error)
        finally:
            self._carried.discard(submission_id)

    def _pay(self, call_ids: Iterable[int], may_buy: bool) -> Callable[[], None]:
        """Pay for a request of a submission; return what counts it once it has left.

        It is on the row of the first call that waits, or has quota where it may buy something;
        where none waits any more, it is in the statistics alone.

        Raises:
            CallRefused: when none that waits has quota for it.
        """
        refusal: CallRefused | None = None
        payer: Work | None = None
        for waiter in filter(None, map(self._waiters.get, call_ids)):
            if not waiter.future.done():
                refusal = waiter.work.reserve_next_request() if may_buy else None
                if refusal is None:
                    payer = waiter.work
                    break
        if refusal is not None:
            raise refusal
        unsent = [payer]

        def on_sent() -> None:
            while unsent:
                self._counts["requests"] += 1
                if (sender := unsent.pop()) is not None:
                    sender.count_sent(0)
                    sender.free_count += not may_buy

        return on_sent

    def _note_begun(self, name: str, lines: Mapping[int, BatchLine]) -> None:
        """Note that calls travel in a batch now, or may: they go nowhere else."""
        now = self._clock.now()
        for waiter in filter(None, map(self._waiters.get, lines)):
            waiter.work.was_carried = True
            waiter.work.travels_with(name, len(lines))
            waiter.work.queue_seconds = now - waiter.accepted_at_seconds

    async def _settle(self, ended: EndedBatch, lines: Mapping[int, BatchLine]) -> None:
        """Store the results of a batch, and send again what it certainly has not run."""
        self._unnamed_failures = 0
        by_id: dict[str, LineResult] = {}
        for each in ended.results:
            by_id.setdefault(each.custom_id, each)
        batch_id = ended.submission.batch_id
        strays = len(by_id.keys() - {line.custom_id for line in lines.values()})
        if strays:
            _LOGGER.warning("batch %s answered %d lines that it was not sent", batch_id, strays)
        is_partial = ended.state is not None and ended.state.is_partial
        found: dict[int, LineResult] = {}
        undone: list[int] = []
        for call_id, line in lines.items():
            result = by_id.get(line.custom_id)
            if is_partial if result is None else not result.was_run:
                undone.append(call_id)
            elif result is None:
                self._counts["lost"] += 1
                found[call_id] = LineResult(line.custom_id, None, batch_id, _LOST)
            else:
                found[call_id] = result
        await self._store(ended.submission, found, len(lines))
        self._send_again(lines, undone)

    async def _settle_refused(
        self, ended: EndedBatch, state: BatchState, lines: Mapping[int, BatchLine]
    ) -> None:
        """Settle a batch that was refused as a whole: bad lines fail, the others are sent again."""
        call_ids, submission = list(lines), ended.submission
        bad = {
            call_ids[place]: LineResult("", 400, {"error": {"message": reason or "a bad line"}})
            for place, reason in state.bad_lines.items()
            if place < len(call_ids)
        }
        if bad:
            await self._store(submission, bad, len(lines))
            self._send_again(lines, [each for each in call_ids if each not in bad])
            return
        self._unnamed_failures += 1
        result = state.refusal
        if len(call_ids) == 1 or self._concerns_all(call_ids, result):
            await self._store(submission, dict.fromkeys(call_ids, result), len(lines))
            return
        # Which line is bad is not said: halves of them show it.
        await self._store(submission, {}, len(lines))
        wanted = [each for each in call_ids if each in self._waiters]
        half = (len(wanted) + 1) // 2
        for part in filter(None, (wanted[:half], wanted[half:])):
            self._begin(self._submit(submission.submitted.path, part), part)

    def _concerns_all(self, call_ids: Iterable[int], result: LineResult) -> bool:
        """Return whether a batch was refused for a reason that lies in no single line."""
        waiter = next((self._waiters[each] for each in call_ids if each in self._waiters), None)
        if waiter is None or self._unnamed_failures >= MAX_UNNAMED_FAILURES:
            return waiter is not None
        work = waiter.work
        _, body = self._client.batch_line(work.sent_call, model=work.endpoint.model)
        error = self._client.batch_answer(work.sent_call, body, result)
        return isinstance(error, RateLimited) or (isinstance(error, CallError) and error.is_fatal)

    async def _store(
        self, submission: KeptSubmission, found: Mapping[int, LineResult], size: int
    ) -> None:
        """Store results, end the submission, and give them to the calls that wait."""
        batch_id = submission.batch_id
        data = {call_id: _packed(each, batch_id, size) for call_id, each in found.items()}
        await self.queue.run(lambda store: store.end(submission.submission_id, data))
        for call_id, result in found.items():
            waiter = self._waiters.get(call_id)
            if waiter is not None:
                self._give(waiter, result, batch_id, size)

    def _give(self, waiter: _Waiter, result: LineResult, batch_id: str, size: int) -> None:
        if not waiter.future.done():
            waiter.work.travels_with(batch_id, size, discount=self._knobs.discount)
            waiter.future.set_result(result)

    def _send_again(self, lines: Mapping[int, BatchLine], call_ids: Iterable[int]) -> None:
        """Let calls that were not run wait for another batch; those that are still wanted."""
        again: dict[int, int] = {}
        for call_id in call_ids:
            waiter = self._waiters.get(call_id)
            if waiter is None or waiter.future.done():
                continue
            waiter.resends += 1
            if waiter.resends > self._knobs.max_resends:
                words = f"{waiter.resends} batches ended before this call was run"
                waiter.fail(CallTimeout(words, was_sent=False))
            else:
                again[call_id] = len(lines[call_id].body)
        self._counts["resent"] += len(again)
        if again:
            self._wait(again)

    def _fail(self, call_ids: Iterable[int], error: Exception) -> None:
        for waiter in filter(None, map(self._waiters.get, call_ids)):
            if isinstance(error, CallRefused):
                waiter.refuse(error)
            else:
                waiter.fail(error)

    def _begin(self, work: Coroutine[Any, Any, None], call_ids: Iterable[int]) -> None:
        """Run something in a task of the lane; its failure is that of the calls."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the callers get it
                self._fail(call_ids, error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _expire(waiter: _Waiter) -> None:
    work = waiter.work
    was_sent = work.was_carried or work.sent_count > 0
    waiter.fail(CallTimeout("no answer before the deadline", was_sent=was_sent))


def _packed(result: LineResult, batch_id: str, size: int) -> bytes:
    return orjson.dumps([tuple(result), batch_id, size])


def _unpacked(data: bytes) -> tuple[LineResult, str, int]:
    result, batch_id, size = orjson.loads(data)
    return LineResult(*result), batch_id, size
