"""A test's own budgeter: every model of the test asks it, and every call has its turn.

The programs under test are foreign, so three things are detected:

- the turn is in a context variable, which tasks and LangGraph's threads inherit; a thread
  that the test starts does not, and there the only open turn counts, if there is one;
- a call outside of every turn belongs to turn 0 of a conversation named as the test;
- the node is the one that LangGraph is running, with the graphs and tools around it.

A test may have several loops (its own, `asyncio.run` twice) and threads. Every call is
answered and counted on one private loop, which ends after the test: see
`callwise.calls.owner_loop`. Nothing is sent without `--callwise-live` or `--callwise-record`.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from callwise.budget import (
    Budgeter,
    LedgerRow,
    Limits,
    Recorder,
    Scope,
    ScopeKind,
    SystemClock,
    VirtualClock,
)
from callwise.calls import Call, CallError, Client, Endpoint, Remaining, Reply, Role
from callwise.calls.client import OfflineClient
from callwise.calls.errors import ConfigError
from callwise.calls.owner_loop import OwnerLoop
from callwise.calls.role_endpoints import endpoints_from_settings
from callwise.recordings.program_turn import AskedPrompts, merged_digests

__all__ = ["TurnLLM"]

_SENDERS = (
    "callwise.calls.openai_http",
    "callwise.calls.openai_sdk",
    "callwise.calls.langchain_client",
)
"""The modules of Callwise's own clients that reach other machines."""


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _CallPlace:
    """One turn of the test, and its scope once something was asked in it."""

    owner: "TurnLLM"
    conversation: str
    turn: int
    limits: Limits | None = None
    scope: Scope | None = None


_CURRENT: ContextVar[_CallPlace | None] = ContextVar("callwise_test_turn", default=None)


class TurnLLM:
    """Answers the calls of a test's models, turn by turn. An `LLM`.

    Args:
        outside: name of the conversation of calls outside of every turn.
        is_live: whether real endpoints may be asked.

    Attributes:
        owner: the loop on which everything runs.
        rows: every call that has ended, in the order in which they ended.
        turns: every turn that was opened or asked in, as conversation and number.
        budgeters: every budgeter so far; each new endpoint makes another one.
        has_sender: whether an endpoint reaches other machines.
    """

    def __init__(self, outside: str, *, is_live: bool = False) -> None:
        self.owner = OwnerLoop(is_private=True)
        self.rows: list[LedgerRow] = []
        self.turns: dict[tuple[str, int], None] = {}
        self.budgeters: list[Budgeter] = []
        self.has_sender = False
        self._is_live = is_live
        self._endpoints: dict[Role, Endpoint] = {}
        self._given: dict[Role, Any] = {}
        self._recorder: Recorder | None = None
        self._recorded: Mapping[str, tuple[str, str]] | None = None
        self._current: Budgeter | None = None
        self._conversations: dict[str, Scope] = {}
        self._outside = _CallPlace(self, outside, 0)
        self._open: list[_CallPlace] = []
        self._prompts = AskedPrompts()

    @property
    def is_recorded(self) -> bool:
        """Whether every call is played from a recording, or recorded."""
        return self._recorder is not None

    def serve(self, name: str, given: Any, *, model: str) -> Role:
        """Set what answers a role, from the next turn on, and return the role.

        Precedence: what the test gives; on a live run or in a recording what the environment
        names (`CALLWISE_BASE_URL`, ...); the simulated model. Where every call is played, nothing
        real is made.

        Args:
            given: a client, an endpoint, a LangChain chat model, or a function that makes one
                of them; None keeps the present endpoint.
            model: the model's name there, for a client.

        Raises:
            ConfigError: when there is no such role, another client answers it, a turn is under
                way, or it would send and may not.
        """
        try:
            role = Role(name)
        except ValueError:
            raise ConfigError(f"there is no role {name!r}; there are: {', '.join(Role)}") from None
        if role in self._given:
            if given is None or self._given[role] is given:
                return role
            raise ConfigError(
                f"another client answers the role {role} in this test already; give the other "
                "model another role, e.g. callwise.model('fast', client=...)"
            )
        under_way = next((place for place in self._open if place.scope is not None), None)
        if under_way is not None:
            raise ConfigError(
                f"turn {under_way.turn} of {under_way.conversation!r} has begun to ask; make the "
                f"model for the role {role} before the turn's first call"
            )
        if self._recorded is None:
            is_sender, endpoint = self._endpoint(role, given, model)
            self.has_sender = self.has_sender or is_sender
        elif isinstance(given, Endpoint):
            endpoint = replace(given, client=OfflineClient())
        else:
            endpoint_name, model = self._recorded.get(role, (f"test-{role}", model))
            endpoint = Endpoint(endpoint_name, model, OfflineClient())
        self._endpoints[role], self._given[role] = endpoint, given
        self.owner.call(self._close_scopes)
        return role

    def _endpoint(self, role: Role, given: Any, model: str) -> tuple[bool, Endpoint]:
        """Return whether a role's calls leave the machine, and its endpoint."""
        may_send = self._is_live or self.is_recorded
        if callable(given) and not isinstance(given, Client) and not hasattr(given, "ainvoke"):
            given = given()
        if given is None:
            made = endpoints_from_settings({}, environ=os.environ if may_send else {})[role]
            return _is_sender(made.client), made
        client = given.client if isinstance(given, Endpoint) else given
        # A chat model of LangChain is judged by itself, not by what wraps it.
        is_sender = _is_sender(client)
        if is_sender and not may_send:
            raise ConfigError(
                f"a {type(client).__name__} sends requests, and nothing is sent without "
                "--callwise-live; give the test a simulated model (no client), a scripted one "
                "(callwise.testing.fakes.ScriptedClient), or run pytest with --callwise-live"
            )
        if isinstance(given, Endpoint):
            return is_sender, given
        if not isinstance(given, Client):
            client = _wrapped(given)
        return is_sender, Endpoint(f"test-{role}", model, client)

    def play(
        self, recorder: Recorder, recorded: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        """Play every call from a recording, or record what is asked.

        Args:
            recorded: endpoint and model of each role in the recording, where every call is
                played; None where calls that it lacks are asked and recorded.

        Raises:
            ConfigError: when a role has a client already.
        """
        if self._given:
            raise ConfigError(
                "a model was made before its cassette was named; call callwise.cassette(...) first"
            )
        self._recorder, self._recorded = recorder, recorded

    @contextmanager
    def turn(
        self, conversation: str, turn: int | None = None, *, limits: Limits | None = None
    ) -> Iterator[None]:
        """Ask in a turn for as long as the block lasts; see `CallwiseFixture.turn`.

        Raises:
            ConfigError: when the turn was run already.
        """
        if turn is None:
            numbers = [number for name, number in self.turns if name == conversation]
            turn = max(numbers, default=-1) + 1
        if turn < 0 or (conversation, turn) in self.turns:
            problem = "was run in this test already" if turn >= 0 else "cannot be: turns start at 0"
            raise ConfigError(f"turn {turn} of {conversation!r} {problem}")
        self.turns[conversation, turn] = None
        place = _CallPlace(self, conversation, turn, limits)
        before = _CURRENT.get()
        self._open.append(place)
        _CURRENT.set(place)
        try:
            yield
        finally:
            # Set, not reset: a fixture may end in another context than it began in.
            _CURRENT.set(before)
            self._open.remove(place)
            if place.scope is not None:
                self.owner.call(place.scope.close)

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

    def advisory(self) -> Remaining:
        """Return what remains of the current turn's limits."""
        return self.owner.call(self._advisory)

    def _advisory(self) -> Remaining:
        budgeter = self._budgeter()
        with self._entered(budgeter):
            return budgeter.advisory()

    async def _asked(self, asking: Callable[[Budgeter], Awaitable[T]]) -> T:
        budgeter = self._budgeter()
        with self._entered(budgeter):
            return await asking(budgeter)

    def _budgeter(self) -> Budgeter:
        """Return the budgeter that serves all roles that have an endpoint by now."""
        if self._current is None:
            is_simulated = all(each.client.is_simulated for each in self._endpoints.values())
            self._current = Budgeter(
                self._endpoints,
                clock=VirtualClock() if is_simulated else SystemClock(),
                recorder=self._recorder,
                sinks=(self.rows.append,),
                secrets=_key_values(),
                max_kept_rows=0,
            )
            self.budgeters.append(self._current)
        return self._current

    def _entered(self, budgeter: Budgeter) -> AbstractContextManager[Scope]:
        place = _CURRENT.get()
        if place is None or place.owner is not self:
            under_way = tuple(self._open)  # the test's own threads open and close turns
            place = under_way[0] if len(under_way) == 1 else self._outside
        if place.scope is None:
            place.scope = self._conversation(budgeter, place.conversation).open(
                ScopeKind.TURN, str(place.turn), limits=place.limits
            )
            self.turns[place.conversation, place.turn] = None
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

    @property
    def prompts(self) -> dict[str, str]:
        """A digest of what is fixed in the prompts of each node; see `AskedPrompts`."""
        return merged_digests([self._prompts.digests()])

    def check(self) -> None:
        """Check that every asked call has its row.

        Raises:
            LedgerError: when one has not.
        """
        for budgeter in self.budgeters:
            budgeter.ledger.check()

    async def aclose(self) -> None:
        """Close scopes and clients. Safe to call twice."""
        self._close_scopes()
        for budgeter in self.budgeters:
            await budgeter.aclose()


def _with_origin(call: Call) -> Call:
    """Return a call with the node that asks it here; a model of LangChain has set it already."""
    if call.origin is not None or "langchain_core.runnables.config" not in sys.modules:
        return call  # where LangChain was never loaded, nothing of it can be running
    from callwise.calls.langgraph_origin import origin_here  # noqa: PLC0415 - it is heavy

    return replace(call, origin=origin_here())


def _key_values() -> tuple[str, ...]:
    """Return the keys in the environment, which no error may contain."""
    return tuple(value for name, value in os.environ.items() if name.endswith("_API_KEY") and value)


def _is_sender(client: Any) -> bool:
    """Return whether a client is known to reach other machines; a test's own class is not."""
    modules = [kind.__module__ for kind in type(client).__mro__]
    # langchain_openai and the rest; langchain_core has only fakes and base classes.
    package = modules[0].partition(".")[0]
    is_provider = package.startswith("langchain") and package != "langchain_core"
    return is_provider or any(module in _SENDERS for module in modules)


def _wrapped(chat: Any) -> Client:
    """Return a LangChain chat model as a client.

    Raises:
        ConfigError: when it is none.
    """
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - it is heavy

    from callwise.calls.langchain_client import LangChainClient  # noqa: PLC0415 - it is heavy

    if not isinstance(chat, BaseChatModel):
        raise ConfigError(
            f"client is a {type(chat).__name__}; give a callwise Client or Endpoint, or a "
            "LangChain chat model"
        )
    return LangChainClient(chat)
