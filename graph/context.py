"""What a node gets beside the state: the engine, and who listens for the reply.

A prompt that does not fit a model's context is asked once more with less in it, here and
for every node: that is a repair, one of those that the call has, so a plan's worst case
stays a bound. What was left out stands in the turn's `degraded`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from callwise.budget.scope import Scope
from callwise.calls import LLM, Call, CallError, Remaining, Reply
from callwise.calls.errors import ContextTooLong
from callwise.recordings.app_protocol import ReplyListener
from graph.engine import Engine
from graph.settings import SamplingKnobs, sampled
from graph.state import TurnState
from nodes.records import Degradation
from nodes.shortening import shortened

__all__ = ["TurnContext", "clips_noted"]

FIRST_NODE = "loader"
"""The node that opens a turn."""

ANSWER_SHARE = 0.25
"""Most of a context that is kept free for the answer where a shorter prompt leaves so much."""

_CLIPS: ContextVar[list[str] | None] = ContextVar("clips", default=None)
"""What the running node's prompts left out."""


@contextmanager
def clips_noted(node: str) -> Iterator[list[Degradation]]:
    """Collect what a node's prompts leave out; the list is filled at the end.

    Args:
        node: the node that asks inside.
    """
    clips: list[str] = []
    degradations: list[Degradation] = []
    token = _CLIPS.set(clips)
    try:
        yield degradations
    finally:
        _CLIPS.reset(token)
    for left_out in dict.fromkeys(clips):
        detail = f"the prompt did not fit the model's context; left out: {left_out}"
        degradations.append(Degradation(node=node, reason="clipped", detail=detail))


def _clipped(call: Call, error: ContextTooLong) -> tuple[Call, str] | None:
    """Return a call that asks again with a shorter prompt and what it leaves out, or None.

    Args:
        call: as it was first asked.
        error: what ended it.
    """
    repairs_left = call.max_repairs - error.repairs - 1
    if repairs_left < 0 or call.is_embedding:
        return None
    shorter = None
    if error.limit_tokens and error.prompt_tokens:
        answer = min(call.sampling.max_tokens or 0, error.limit_tokens * ANSWER_SHARE)
        for room in (error.limit_tokens - answer, error.limit_tokens):
            shorter = shorter or shortened(call.messages, share=room / error.prompt_tokens)
    else:
        shorter = shortened(call.messages)
    if shorter is None:
        return None
    again = replace(
        call,
        messages=shorter.messages,
        repair=call.repair + error.repairs + 1,
        max_repairs=repairs_left,
    )
    return again, shorter.left_out


def _note(left_out: str) -> None:
    clips = _CLIPS.get()
    if clips is not None:
        clips.append(left_out)


@dataclass(frozen=True, slots=True)
class _PipelineLLM:
    """The budgeter with what the knobs and the wiring add to a node's calls."""

    llm: LLM
    max_repairs: int
    sampling: Mapping[str, SamplingKnobs]
    lease: str | None
    keeps_repairs: bool = False

    def _completed(self, call: Call) -> Call:
        call = sampled(call, self.sampling)
        lease = call.lease or self.lease
        max_repairs = self.max_repairs
        if self.keeps_repairs:
            max_repairs = min(call.max_repairs, max_repairs)
        # What a node asks twice is meant to be one question; a resample says that it is one.
        share = True if call.share is None else call.share
        given = (max_repairs, lease, share)
        if given == (call.max_repairs, call.lease, call.share):
            return call
        return replace(call, max_repairs=max_repairs, lease=lease, share=share)

    async def ask(self, call: Call) -> Reply:
        asked = self._completed(call)
        while True:
            try:
                return await self.llm.ask(asked)
            except ContextTooLong as error:
                clipped = _clipped(asked, error)
                if clipped is None:
                    raise
                asked = clipped[0]
                _note(clipped[1])

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        asked = [self._completed(call) for call in calls]
        answers = await self.llm.ask_all(asked, max_concurrency=max_concurrency)
        while True:
            again: dict[int, Call] = {}
            for place, answer in enumerate(answers):
                clipped = (
                    _clipped(asked[place], answer) if isinstance(answer, ContextTooLong) else None
                )
                if clipped is not None:
                    asked[place] = again[place] = clipped[0]
                    _note(clipped[1])
            if not again:
                return answers
            later = await self.llm.ask_all(list(again.values()), max_concurrency=max_concurrency)
            for place, answer in zip(again, later, strict=True):
                answers[place] = answer

    def advisory(self) -> Remaining:
        return self.llm.advisory()


@dataclass(frozen=True, slots=True)
class TurnContext:
    """One turn's context.

    Args:
        engine: what all turns share.
        on_reply: told the reply as soon as it is out, before the bookkeeping.
    """

    engine: Engine
    on_reply: ReplyListener | None = None

    @property
    def llm(self) -> LLM:
        """Who answers the nodes' calls."""
        return self.llm_with()

    def llm_with(self, lease: str | None = None, *, keeps_repairs: bool = False) -> LLM:
        """Return who answers the nodes' calls.

        Args:
            lease: a lease of the turn that they may draw on.
            keeps_repairs: leave a call that allows fewer repairs than the knobs as it is.
        """
        settings = self.engine.settings
        return _PipelineLLM(
            self.engine.budgeter,
            max_repairs=settings.repair.max_repairs,
            sampling=settings.sampling,
            lease=lease,
            keeps_repairs=keeps_repairs,
        )

    async def turn_scope(self, state: TurnState, name: str) -> Scope:
        """Return the turn's scope for a node; the first node opens it where it is not open.

        `graph.session` opens it before the turn; a graph server runs each node in a context of
        its own.
        """
        engine = self.engine
        scope = engine.turn(state.identity)
        is_first = name == FIRST_NODE
        if scope is not None and (not is_first or scope.turn == str(state.requested_turn)):
            return scope
        turn = state.requested_turn
        if not is_first:
            turn = state.turn  # a turn that is resumed in another process, past its beginning
        elif turn is None:
            turn = await engine.next_turn(state.identity)
        return engine.open_turn(state.identity, turn)
