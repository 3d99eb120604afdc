"""A test's own budgeter: every model of the test asks it, and every call knows its turn.

The programs under test are not ours, so three things are found out instead of told:

- the turn stands in a context variable, which tasks and LangGraph's threads inherit; a
  thread of the test's own does not, and there the only open turn counts, if there is one;
- a call outside of every turn belongs to turn 0 of a conversation named as the test;
- the node is the one that LangGraph is running, with the graphs and tools around it.

A test may have several loops (its own, `asyncio.run` twice) and threads. All is answered
and counted on one private loop, which ends after the test: see `turnwise.calls.owner_loop`.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from turnwise.budget import (
    Budgeter,
    LedgerRow,
    Limits,
    Recorder,
    Scope,
    ScopeKind,
    SystemClock,
    VirtualClock,
)
from turnwise.calls import Advisory, Call, CallError, Endpoint, Reply, Role
from turnwise.calls.errors import ConfigError
from turnwise.calls.owner_loop import OwnerLoop
from turnwise.replay.asked_prompts import AskedPrompts, merged_digests

__all__ = ["TurnLLM"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Place:
    """One turn of the test, and its scope once something was asked in it."""

    owner: "TurnLLM"
    conversation: str
    turn: int
    limits: Limits | None = None
    scope: Scope | None = None


_PLACE: ContextVar[_Place | None] = ContextVar("turnwise_test_turn", default=None)


class TurnLLM:
    """Answers the calls of a test's models, turn by turn. An `Asker`.

    Args:
        outside: name of the conversation of calls that are asked outside of every turn.
        secrets: values of keys, kept out of every error.

    Attributes:
        owner: the loop that all of it works on.
    """

    def __init__(self, outside: str, *, secrets: Sequence[str] = ()) -> None:
        self.owner = OwnerLoop(is_private=True)
        self._secrets = tuple(secrets)
        self._rows: list[LedgerRow] = []
        self._endpoints: dict[Role, Endpoint] = {}
        self._budgeters: list[Budgeter] = []
        self._current: Budgeter | None = None
        self._conversations: dict[str, Scope] = {}
        self._outside = _Place(self, outside, 0)
        self._open: list[_Place] = []
        self._turns: dict[tuple[str, int], None] = {}
        self._recorder: Recorder | None = None
        self._prompts = AskedPrompts()

    # What the test sets up.

    def seat(self, role: Role, endpoint: Endpoint) -> None:
        """Let an endpoint serve a role, from the next turn on.

        Args:
            role: the role.
            endpoint: who serves it.

        Raises:
            ConfigError: when another one serves it, or a turn is under way.
        """
        if role in self._endpoints:
            raise ConfigError(
                f"another client answers the role {role} in this test already; give the other "
                "model another role, e.g. turnwise.model('fast', client=...)"
            )
        under_way = next((place for place in self._open if place.scope is not None), None)
        if under_way is not None:
            raise ConfigError(
                f"turn {under_way.turn} of {under_way.conversation!r} has begun to ask; make the "
                f"model for the role {role} before the turn's first call"
            )
        self._endpoints[role] = endpoint
        self.owner.call(self._close_scopes)

    def play(self, recorder: Recorder) -> None:
        """Answer from a recording, or record what is asked, from the next turn on.

        Raises:
            ConfigError: when something was asked already.
        """
        if self._budgeters:
            raise ConfigError(
                "the test has asked something already; name the cassette before its first call"
            )
        self._recorder = recorder

    @contextmanager
    def turn(
        self, conversation: str, turn: int | None = None, *, limits: Limits | None = None
    ) -> Iterator[None]:
        """Ask in a turn for as long as the block lasts.

        Args:
            conversation: the conversation's id.
            turn: its number there, at least 0; None goes on after the last one.
            limits: hard limits of the turn; a call beyond them is refused.

        Raises:
            ConfigError: when the turn was run already.
        """
        if turn is None:
            numbers = [number for name, number in self._turns if name == conversation]
            turn = max(numbers, default=-1) + 1
        if turn < 0 or (conversation, turn) in self._turns:
            problem = "was run in this test already" if turn >= 0 else "cannot be: turns start at 0"
            raise ConfigError(f"turn {turn} of {conversation!r} {problem}")
        self._turns[conversation, turn] = None
        place = _Place(self, conversation, turn, limits)
        before = _PLACE.get()
        self._open.append(place)
        _PLACE.set(place)
        try:
            yield
        finally:
            # Set, not reset: a fixture may end in another context than it began in.
            _PLACE.set(before)
            self._open.remove(place)
            if place.scope is not None:
                self.owner.call(place.scope.close)

    # What the test's models do.

    async def ask(self, call: Call) -> Reply:
        """Return the answer; see `Budgeter.ask`."""
        placed = _with_origin(call)
        self._prompts.add(placed)
        return await self.owner.run(self._asked, lambda budgeter: budgeter.ask(placed))

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls in one round; see `Budgeter.ask_all`."""
        placed = [_with_origin(call) for call in calls]
        for call in placed:
            self._prompts.add(call)
        return await self.owner.run(
            self._asked,
            lambda budgeter: budgeter.ask_all(placed, max_concurrency=max_concurrency),
        )

    def advisory(self) -> Advisory:
        """Return how much room the current turn has."""
        return self.owner.call(self._advisory)

    def _advisory(self) -> Advisory:
        budgeter = self._budgeter()
        with self._entered(budgeter):
            return budgeter.advisory()

    async def _asked(self, asking: Callable[[Budgeter], Awaitable[T]]) -> T:
        budgeter = self._budgeter()
        with self._entered(budgeter):
            return await asking(budgeter)

    # Where a call stands.

    def _budgeter(self) -> Budgeter:
        """Return the budgeter that serves all roles that have an endpoint by now."""
        if self._current is None:
            is_simulated = all(each.client.is_simulated for each in self._endpoints.values())
            self._current = Budgeter(
                self._endpoints,
                clock=VirtualClock() if is_simulated else SystemClock(),
                recorder=self._recorder,
                sinks=(self._rows.append,),
                secrets=self._secrets,
                max_kept_rows=0,
            )
            self._budgeters.append(self._current)
        return self._current

    def _entered(self, budgeter: Budgeter) -> AbstractContextManager[Scope]:
        place = _PLACE.get()
        if place is None or place.owner is not self:
            under_way = tuple(self._open)  # the test's own threads open and close turns
            place = under_way[0] if len(under_way) == 1 else self._outside
        if place.scope is None:
            place.scope = self._conversation(budgeter, place.conversation).open(
                ScopeKind.TURN, str(place.turn), limits=place.limits
            )
            self._turns[place.conversation, place.turn] = None
        return place.scope.entered()

    def _conversation(self, budgeter: Budgeter, name: str) -> Scope:
        if name not in self._conversations:
            self._conversations[name] = budgeter.run.open(ScopeKind.CONVERSATION, name)
        return self._conversations[name]

    def _close_scopes(self) -> None:
        """Close what the budgeter so far has open; the next call makes another one."""
        if self._outside.scope is not None:
            self._outside.scope.close()
            self._outside.scope = None
        for scope in self._conversations.values():
            scope.close()
        self._conversations.clear()
        self._current = None

    # What is left at the end.

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """Every call that has ended, in the order in which they ended."""
        return tuple(self._rows)

    @property
    def prompts(self) -> dict[str, str]:
        """A digest of what is fixed in the prompts of each node; see `AskedPrompts`."""
        return merged_digests([self._prompts.digests()])

    @property
    def turns(self) -> tuple[tuple[str, int], ...]:
        """Every turn that was opened or asked in, as conversation and number."""
        return tuple(self._turns)

    def check(self) -> None:
        """Hold the books: every asked call has its row.

        Raises:
            LedgerError: when they do not add up.
        """
        for budgeter in self._budgeters:
            budgeter.ledger.check()

    @property
    def is_used(self) -> bool:
        """Whether anything was asked, so that there is something to close."""
        return bool(self._budgeters)

    async def aclose(self) -> None:
        """Close scopes and clients. Safe to call twice."""
        self._close_scopes()
        for budgeter in self._budgeters:
            await budgeter.aclose()


def _with_origin(call: Call) -> Call:
    """Return a call with the node that asks it here; a model of LangChain has said it already."""
    if call.origin is not None or "langchain_core.runnables.config" not in sys.modules:
        return call  # where LangChain was never loaded, nothing of it can be running
    from turnwise.calls.langgraph_origin import origin_here  # noqa: PLC0415 - it is heavy

    return replace(call, origin=origin_here())
