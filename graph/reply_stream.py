"""A reply that is shown as it becomes final, while the rest of its turn goes on behind it.

Bubbles become final in `final_validator`; those of a reply that one call writes may be so before,
while its answer arrives (`nodes.early_reply`). Showing them asks no call and changes none: a
turn has the same rows and the same record whether its bubbles are shown or not.

A turn goes on without its reader, and the session's closing waits for it. Only `aclose`, and
cancelling the wait for a bubble, end one whose reply is not whole. The next turn of the same
memory waits for it as for any other turn (`Engine.enter`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from callwise.calls import LLM, Call, CallError, Remaining, Reply
from callwise.calls.errors import InvalidAnswer
from callwise.recordings.app_protocol import TurnResult
from nodes.early_reply import EarlyReply, text_of
from nodes.fused_calls import ReplyingAnswer
from nodes.prompt import clip
from nodes.question import MAX_DETAIL_CHARS
from nodes.records import Bubble, Degradation

__all__ = ["ReplyStream", "ReplyingLLM", "ShownReply", "failed_behind"]


@dataclass(slots=True)
class ShownReply:
    """The bubbles of one turn that were shown so far.

    Args:
        on_bubble: called with the index of each bubble, from 0 on, and the bubble.
        bubbles: those that were shown before.

    Attributes:
        is_whole: whether the reply is out.
    """

    on_bubble: Callable[[int, Bubble], None] | None = None
    bubbles: tuple[Bubble, ...] = ()
    is_whole: bool = field(default=False, init=False)

    def show(self, bubbles: Sequence[Bubble], *, is_whole: bool = False) -> None:
        """Show those of the bubbles so far that were not shown yet.

        Raises:
            RuntimeError: when one that was shown has changed.
        """
        before = len(self.bubbles)
        if tuple(bubbles[:before]) != self.bubbles:
            raise RuntimeError(f"a shown bubble has changed: {self.bubbles} are not in {bubbles}")
        self.bubbles, self.is_whole = tuple(bubbles), is_whole
        if self.on_bubble is not None:
            for index, bubble in enumerate(bubbles[before:], before):
                self.on_bubble(index, bubble)


def failed_behind(node: str, error: Exception) -> Degradation:
    """Return the record of a node that failed behind the reply."""
    detail = clip(f"behind the reply: {type(error).__name__}: {error}", MAX_DETAIL_CHARS)
    return Degradation(node=node, reason="failed", detail=detail)


@dataclass(slots=True)
class ReplyingLLM:
    """An LLM for the call that replies: its answer is a stream, which `early` reads.

    Where the answer fails and bubbles of it are shown, they are the answer.

    Attributes:
        degradations: why the answer is only what was shown; empty where it is not.
    """

    llm: LLM
    early: EarlyReply
    degradations: list[Degradation] = field(default_factory=list)

    async def ask(self, call: Call) -> Reply:
        """Return the answer to a call; see `LLM.ask`."""
        try:
            reply = await self.llm.ask(replace(call, stream=True, listener=self.early))
        except CallError as error:
            if isinstance(error, InvalidAnswer):
                self.early.read(error.text)
            if not self.early.bubbles or error.is_fatal:
                raise
            shown = len(self.early.bubbles)
            problem = (
                f"the answer ends after {shown} shown bubbles: {type(error).__name__}: {error}"
            )
            reason = "invalid" if isinstance(error, InvalidAnswer) else "failed"
            detail = clip(problem, MAX_DETAIL_CHARS)
            self.degradations.append(
                Degradation.model_validate(
                    {"node": "lats_search", "reason": reason, "detail": detail}
                )
            )
            text = text_of(self.early.bubbles)
            return Reply(text, parsed=ReplyingAnswer(reply=text))
        self.early.read(reply.text)  # of an answer that did not come as a stream
        return reply

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Return the answers to calls that are asked together; see `LLM.ask_all`."""
        return await self.llm.ask_all(calls, max_concurrency=max_concurrency)

    def advisory(self) -> Remaining:
        """Return what remains of the budget; see `LLM.advisory`."""
        return self.llm.advisory()


class ReplyStream:
    """One turn under way: iterate over its bubbles, then `await` its `result`.

    Begun by `ReplySession.astream`. Each iteration is over all bubbles from the first on, plain
    JSON objects as in the turn's record, each as soon as it is final.

    Args:
        run: runs the turn, and shows its bubbles.
    """

    def __init__(self, run: Callable[[ShownReply], Awaitable[TurnResult]]) -> None:
        self._shown = ShownReply(self._put)
        self._bubbles: list[Mapping[str, Any]] = []
        self._changed = asyncio.Event()
        self._was_raised = False
        self._turn = asyncio.ensure_future(run(self._shown))
        self._turn.add_done_callback(lambda _: self._changed.set())

    @property
    def has_ended(self) -> bool:
        """Whether the turn has ended, and raised its error where it had one."""
        return self._turn.done() and (
            self._was_raised or self._turn.cancelled() or self._turn.exception() is None
        )

    async def __aiter__(self) -> AsyncIterator[Mapping[str, Any]]:
        """Yield each bubble; cancelling the wait for one cancels the turn.

        Raises:
            CallError: what ended the turn before its reply; see `ReplySession.run_turn`.
            StoreFailed: likewise.
        """
        place = 0
        while True:
            while place < len(self._bubbles):
                yield self._bubbles[place]
                place += 1
            if self._shown.is_whole or self._turn.done():
                break
            self._changed.clear()
            try:
                await self._changed.wait()
            except asyncio.CancelledError:
                await self.aclose()
                raise
        if not self._shown.is_whole:
            await self.result()

    async def result(self) -> TurnResult:
        """Return the finished turn; cancelling this wait leaves the turn under way.

        Raises:
            CallError: what ended the turn; behind the reply, only `RunStopped` and `CassetteMiss`.
            StoreFailed: when memory could not be read. What fails behind the reply is in
                `degraded` of the record.
        """
        try:
            return await asyncio.shield(self._turn)
        finally:
            self._was_raised = self._turn.done()

    async def aclose(self) -> None:
        """Cancel the turn where its reply is not whole, and wait until it has come to rest."""
        if not (self._shown.is_whole or self._turn.done()):
            self._turn.cancel()
            self._was_raised = True
            await asyncio.wait((self._turn,))

    async def settled(self) -> None:
        """Wait until the turn has ended; cancelling this wait cancels the turn.

        Raises:
            BaseException: what ended it, where neither an iteration nor `result` has raised it.
        """
        try:
            await asyncio.wait((self._turn,))
        except asyncio.CancelledError:
            self._turn.cancel()
            await asyncio.wait((self._turn,))
            raise
        if not self._was_raised and not self._turn.cancelled():
            self._turn.result()

    def _put(self, _index: int, bubble: Bubble) -> None:
        self._bubbles.append(bubble.model_dump())
        self._changed.set()
