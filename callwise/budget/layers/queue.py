"""Layer `queue`: background calls are on disk from the moment they are accepted until they end.

Invariant: a call that was accepted is answered once. A process that dies leaves its calls, and
answers that nothing was given yet, to the next one: where that asks an equal call, or all that
are left with `Budgeter.resume_background`. A call that ends in an error leaves the queue with it.
One that is cancelled stays: a program that is being stopped cancels its calls. So does one whose
batch is not waited for any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from callwise.budget.batch_api.background_queue import BackgroundQueue, BackgroundQueues
from callwise.budget.batch_api.store import QueuedCall
from callwise.budget.cache_document import (
    document_of_reply,
    reply_of_document,
)
from callwise.budget.work import Work
from callwise.calls.call import Call
from callwise.calls.call_document import call_of_document, document_of_call
from callwise.calls.client import Endpoint
from callwise.calls.delivery import Delivery
from callwise.calls.errors import BadRequest, BatchUnfinished, FormatError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.payload import json_bytes, json_object
from callwise.calls.reply import Reply

__all__ = ["QueueLayer"]


class QueueLayer:
    """Keeps calls in the queue of their endpoint.

    Args:
        load_of: returns the knobs of an endpoint.
        endpoints: returns the endpoints of the budgeter.
    """

    def __init__(
        self,
        load_of: Callable[[Endpoint], LoadKnobs],
        queues: BackgroundQueues,
        endpoints: Callable[[], Iterable[Endpoint]],
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._load_of = load_of
        self._queues = queues
        self._endpoints = endpoints
        self._next = next
        self._accepted = 0
        self._resumed = 0

    def __call__(self, carried: Work) -> Awaitable[Reply]:
        """Return a reply that was kept, or that of the layer below.

        Raises:
            CallError: how the work ended.
            ConfigError: when the queue cannot be used.
        """
        knobs = self._load_of(carried.endpoint).background
        if knobs is None or carried.priority < knobs.takes:
            return self._next(carried)
        return self._kept(carried, self._queues(knobs.file))

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls were accepted, and how many answers an earlier process left."""
        return {"accepted": self._accepted, "resumed": self._resumed}

    async def aclose(self) -> None:
        """Release the queues, once the lanes below have stopped. Safe to call twice."""
        await self._queues.aclose()

    async def calls_left(self) -> list[Call]:
        """Return the calls in the queues that no process waits for, in the order of asking.

        Raises:
            FormatError: when one cannot be read, or its response model is not loaded.
        """
        knobs = (self._load_of(each).background for each in self._endpoints())
        files = dict.fromkeys(each.file for each in knobs if each is not None)
        calls: list[Call] = []
        for file in files:
            for question in await self._queues(file).run(lambda store: store.questions()):
                try:
                    calls.append(call_of_document(question))
                except ValueError as error:
                    raise FormatError(file, None, str(error)) from error
        return calls

    async def _kept(self, work: Work, queue: BackgroundQueue) -> Reply:
        try:
            question = document_of_call(work.call)
        except TypeError as error:
            raise BadRequest(
                f"the call cannot be written as JSON: {error}", was_sent=False
            ) from error
        kept = await queue.accept(QueuedCall(_QUESTIONS, work.key, question=question))
        self._accepted += 1
        try:
            if kept.result is not None:
                self._resumed += 1
                reply = _given_again(work, kept.result)
            else:
                reply = await self._next(work)
                await queue.answer(kept.call_id, _packed(work, reply))
        except (asyncio.CancelledError, BatchUnfinished):
            queue.leave(kept.call_id)
            raise
        except BaseException:
            queue.release(kept.call_id)
            raise
        queue.take(kept.call_id)
        return reply


_QUESTIONS = "questions"
"""Name under which questions are in the store, next to the lines of endpoints."""


def _packed(work: Work, reply: Reply) -> bytes:
    return json_bytes({"reply": document_of_reply(reply), "delivery": work.delivery.to_json()})


def _given_again(work: Work, data: bytes) -> Reply:
    """Return a reply that an earlier process has paid for, and count its tokens here."""
    document = json_object(data)
    reply = reply_of_document(document["reply"])
    work.begin_attempt()
    work.was_carried = True
    work.delivery = Delivery.from_json(document["delivery"])
    work.settle(reply, 0.0)
    return reply
