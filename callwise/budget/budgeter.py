"""The shared call budgeter: everything between asking and sending.

An asked call goes through the layers of `call_path`. Every call that is asked ends in exactly
one outcome and in exactly one ledger row, whatever happens to it on the way.

A budgeter works on one event loop at a time, its owner loop (see `calls.owner_loop`).
Nothing between checking a limit and taking from it awaits, which on one loop makes it
atomic without a lock.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from callwise.budget.breaker import BreakerStatistics
from callwise.budget.call_path import build_call_path
from callwise.budget.clock import Clock, SystemClock
from callwise.budget.critical_path import CriticalPathTrack
from callwise.budget.fan_out import fan_out
from callwise.budget.fleet.fleet import Fleet
from callwise.budget.in_flight import InFlightCall, require_calls, step_mark
from callwise.budget.layers.cache import ReplyCache
from callwise.budget.layers.ledger import MAX_KEPT_ROWS, Ledger, RowSink, as_endpoint
from callwise.budget.layers.queue import QueueLayer
from callwise.budget.layers.schedule import ScheduleLayer
from callwise.budget.limits import Limits
from callwise.budget.metrics.run_metrics import RunMetrics
from callwise.budget.policies.answering_models import AnsweringModels
from callwise.budget.recorder import Recorder
from callwise.budget.redactor import Redactor
from callwise.budget.run_gate import Drained, RunGate
from callwise.budget.schedule.task import LaneStatus
from callwise.budget.scope import Scope, ScopeKind, current_scope
from callwise.budget.scope_limits import require_prices
from callwise.budget.shared_requests import SharedRequests
from callwise.budget.similar import SimilarReuse
from callwise.budget.token_estimate import DEFAULT_OUTPUT_TOKENS, Estimate, Estimator, TokenCounter
from callwise.calls.call import Call, Role
from callwise.calls.client import Endpoint, EndpointsByName, Remaining
from callwise.calls.errors import CallError, ConfigError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.owner_loop import OwnerLoop
from callwise.calls.policies import PolicyKnobs
from callwise.calls.reply import SIMULATED_ENDPOINT, Reply
from callwise.calls.retry import RetryPolicy
from callwise.text_layout import counted

__all__ = ["Budgeter"]


class Budgeter:
    """Counts, caps, shares, retries, records and answers calls. An `LLM`.

    Awaited directly it works on the running loop; then it can be used from one loop at a
    time. With `own_loop`, and once a `BudgetedChatModel` asks it, it works on a private loop
    in a thread, and may be used from any loop and thread; its scopes, ledger and sinks too.

    Args:
        endpoints: by role, or by another name: that of `Call.model`; also a LangChain chat model.
            `add_endpoint` adds to them. Owned: `aclose` closes their clients.
        clock: None takes the system's.
        estimator: counts input tokens before a call is sent; None takes
            `callwise.budget.token_estimate`, loaded at the first call that needs it.
        cache: keeps answers for equal calls; None keeps none. Owned.
        similar: reuse of answers to similar calls; None for none. Its `check` asks judges.
        recorder: a recording to read, write, or both. Not owned.
        limits: of the whole run; also as a mapping, `{"max_calls": 5}`.
        retry: when to try again, at endpoints without a policy.
        load: when and with what calls are sent; an endpoint's own knobs go before these.
        policies: which models answer calls, by purpose, or `default` for all other chat calls.
        seed: of the retries' jitter.
        sinks: called with each ledger row.
        secrets: values of keys, kept out of every error.
        default_output_tokens: reserved for the output of a call without `max_tokens`.
        max_kept_rows: see `Ledger`.
        advises_by_path: read the time that is left from the path, which is the same in
            a replay and a little behind the clock, so that a pipeline that winds down by it
            does so at the same call there. Limits bind by the clock either way.
        notify: called with what a person should know while a call waits; None calls nothing.
        own_loop: work on a private loop from the first call on. Clients, cache, recorder and
            sinks are then used in its thread.
        shared: requests, queues and clients in common with other budgeters on the same loop; its
            caller closes it after them. Without effect where time is virtual.

    As a context manager, `with` or `async with`, it is closed at the end.

    Raises:
        ConfigError: when `limits` has a `max_usd` and an endpoint has no prices; for an endpoint
            that is none; for `shared` with a private loop or `load.fleet`; for a policy that
            names a purpose or a model that is not there.

    Attributes:
        run: the root scope. It stays open.
        ledger: the rows.
        owner: the loop that it works on.
        answering: the endpoints that may answer a call.
    """

    def __init__(
        self,
        endpoints: EndpointsByName | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        estimator: TokenCounter | None = None,
        cache: ReplyCache | None = None,
        similar: SimilarReuse | None = None,
        recorder: Recorder | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        retry: RetryPolicy | None = None,
        load: LoadKnobs | None = None,
        policies: Mapping[str, PolicyKnobs] | None = None,
        seed: int = 0,
        sinks: Iterable[RowSink] = (),
        secrets: Iterable[str] = (),
        default_output_tokens: int = DEFAULT_OUTPUT_TOKENS,
        max_kept_rows: int | None = MAX_KEPT_ROWS,
        advises_by_path: bool = False,
        notify: Callable[[str], None] | None = None,
        own_loop: bool = False,
        shared: SharedRequests | None = None,
    ) -> None:
        self.owner = OwnerLoop(is_private=own_loop, before_end=self._close_parts)
        self._advises_by_path = advises_by_path
        self._clock = clock or SystemClock()
        self._shared = None if self._clock.is_virtual else shared
        given = {name: as_endpoint(each, name) for name, each in (endpoints or {}).items()}
        self._given_endpoints = given
        self._endpoints = given if self._shared is None else self._shared.endpoints_for(given)
        self._cache = cache
        self._estimator = Estimator(estimator, default_output_tokens=default_output_tokens)
        self.answering = AnsweringModels(policies or {}, self._endpoints, self._estimator)
        self.run = Scope(
            ScopeKind.RUN,
            limits=limits,
            clock=self._clock,
            accept_limits=lambda limits, path: require_prices(limits, path, self._endpoints),
            at_owner=self.owner.call,
        )
        load = load or LoadKnobs()
        if shared is not None and (own_loop or load.fleet is not None):
            raise ConfigError(
                "`shared` is for budgeters on one loop of one process, and this one has "
                f"{'a private loop' if own_loop else '`load.fleet`'}. Leave one of the two out"
            )
        self._fleet: Fleet | None = None
        if load.fleet is not None and not self._clock.is_virtual:
            self._fleet = Fleet(load.fleet, self._clock)
            self._fleet.require_prices(self._endpoints)
        self.ledger = Ledger(self.run, sinks=sinks, max_kept_rows=max_kept_rows)
        self._gate = RunGate(self._clock)
        self._call_path = build_call_path(
            self._endpoints,
            ledger=self.ledger,
            clock=self._clock,
            estimator=self._estimator,
            cache=cache,
            similar=similar,
            recorder=recorder,
            retry=retry or RetryPolicy(),
            seed=seed,
            redactor=Redactor(secrets),
            load=load,
            policies=policies or {},
            gate=self._gate,
            notify=notify,
            fleet=self._fleet,
            shared=self._shared,
        )
        self._first_layer = self._call_path.first
        self._metrics: RunMetrics | None = None

    @classmethod
    def simulated(
        cls,
        max_calls: int | None = 20,
        seed: int = 0,
        *,
        limits: Limits | None = None,
        **options: Any,
    ) -> Self:
        """Return a budgeter whose every role is the simulated model. Nothing is sent.

        Args:
            max_calls: most calls of the whole run; None for no limit.
            seed: decides every answer.
            limits: of the whole run, in place of `max_calls`.
            options: further arguments of the constructor.
        """
        from callwise.simulator import SimulatedClient, SimulatedSettings  # noqa: PLC0415 - heavy

        client = SimulatedClient(SimulatedSettings(seed=seed))
        endpoint = Endpoint(SIMULATED_ENDPOINT, "simulated", client)
        limits = Limits(max_calls=max_calls) if limits is None else limits
        return cls(dict.fromkeys(Role, endpoint), limits=limits, seed=seed, **options)

    def __repr__(self) -> str:
        """Return the calls of the run and what its limits leave, for a console."""
        counts = self.run.counters.counts()
        left = self.run.scope_limits.remaining(self.run.position)
        return (
            f"<Budgeter: {counted(counts.asked, 'call')} asked, {counts.in_flight:,} in flight; "
            f"{f'left: {left}' if str(left) else 'no limits'}>"
        )

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the endpoint that serves a role, or has another name; None where there is none."""
        return self._endpoints.get(name)

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """Roles and other names that have an endpoint."""
        return tuple(self._endpoints)

    def add_endpoint(self, name: str, endpoint: Endpoint) -> None:
        """Serve a role that no endpoint serves yet, or calls with another name as their `model`.

        Raises:
            ConfigError: when one does, when a limit of the run in USD would cover an endpoint
                without prices, or when it has knobs of load and the budgeter schedules nothing.
                Limits of other open scopes are not checked again.
        """
        if (known := self._endpoints.get(name)) is not None:
            kind = "role" if name in tuple(Role) else "model"
            raise ConfigError(
                f"{kind} {name!s:.80} is served by {known.name} ({known.model}) already. Use "
                f"another {kind}"
            )
        require_prices(self.run.limits, self.run.path, {name: endpoint})
        own, layers = endpoint.load, self._call_path.layers
        is_scheduled = own is not None and (own.schedule is not None or own.rate is not None)
        if is_scheduled and not self._clock.is_virtual and "schedule" not in layers:
            raise ConfigError(
                f"{endpoint.name} has a schedule or rate limits, and this budgeter was built "
                "without. Give the budgeter `load` too, or the endpoint when it is built"
            )
        if self._fleet is not None:
            self._fleet.require_prices({name: endpoint})
        self._endpoints[name] = endpoint

    @property
    def current(self) -> Scope:
        """The scope that a call asked now is asked in."""
        scope = current_scope()
        return self.run if scope is None or scope.root is not self.run else scope

    @property
    def in_flight(self) -> int:
        """Pieces of work under way; equal calls share one."""
        return int(self._call_path.layers["share"].statistics()["in_flight"])

    def statistics(self) -> dict[str, dict[str, int | float]]:
        """Return what each layer of the call path has counted, in the order of the path."""
        return self.owner.call(self._call_path.statistics)

    def metrics(self, *others: "Budgeter") -> RunMetrics:
        """Return the metrics of the run, which count from the first time that this is called.

        With other budgeters of the same loop they are new ones, of the calls of all.
        """
        if others:
            return RunMetrics(*((each, each._call_path) for each in (self, *others)))  # noqa: SLF001
        if self._metrics is None:
            self._metrics = RunMetrics((self, self._call_path))
        return self._metrics

    def breakers(self) -> tuple[BreakerStatistics, ...]:
        """Return the state of each endpoint that has failed, or whose failures are counted."""
        return self.owner.call(self._call_path.breakers.states)

    @property
    def stopped_by(self) -> str | None:
        """Reason why the run has stopped; None while it accepts calls."""
        return self._gate.stopped_by

    def stop(self, reason: str) -> None:
        """Accept no further call: each ends in `RunStopped`. Calls under way go on."""
        self.owner.call(lambda: self._gate.stop(reason))

    def resume(self) -> None:
        """Accept calls again."""
        self.owner.call(self._gate.resume)

    def lanes(self) -> tuple[LaneStatus, ...]:
        """Return the queue of each endpoint that was asked: its level, its tasks, its counters.

        Empty where nothing is scheduled.
        """
        layer = self._call_path.layers.get("schedule")
        return self.owner.call(layer.lanes) if isinstance(layer, ScheduleLayer) else ()

    def scope(
        self,
        kind: ScopeKind | str,
        name: str = "",
        *,
        limits: Limits | Mapping[str, Any] | None = None,
        after: Sequence[str] | None = None,
        user: str | None = None,
        tenant: str | None = None,
    ) -> Scope:
        """Return a new scope inside the current one; see `Scope.open`.

        It limits and counts what is asked while it is entered: `with` enters and closes it,
        `with scope.entered():` may be repeated.
        """
        return self.current.open(kind, name, limits=limits, after=after, user=user, tenant=tenant)

    def advisory(self) -> Remaining:
        """Return how much remains in the current scope."""
        scope = self.current
        return self.owner.call(
            lambda: scope.scope_limits.remaining(scope.position, by_path=self._advises_by_path)
        )

    def estimate(self, call: Call) -> Estimate:
        """Return what one attempt at a call would reserve, at most. Asks nothing.

        Raises:
            UnknownRole: when no endpoint serves its role, or has its `model`.
        """
        return self.answering.estimate(call)

    async def ask(self, call: Call) -> Reply:
        """Return the answer, its `parsed` set when the call has a response model.

        Raises:
            CallError: whatever ended the call instead; see the tree in `errors`.
            UnknownRole: when no endpoint serves its role, or has its `model`. Not counted.
            ConfigError: when calls are under way on another loop; see `own_loop`.
        """
        require_calls(call)
        with self._asked_in(call) as scope:
            # The scope's path advances in the caller's loop: in the order of the caller's steps.
            track = CriticalPathTrack(scope.position)
            try:
                carried = InFlightCall(call, scope, track)
                return (await self.owner.run(self._first_layer, carried)).reply
            finally:
                scope.advance_to(track.position)

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls in one round, and return each one's reply or error in order.

        Args:
            calls: what to ask; all of one origin.
            max_concurrency: most of them in flight; at least 1. The i-th then starts in
                round i // max_concurrency after the first.

        Raises:
            CallError: a fatal one, once all have ended.
            Exception: a bug in a client, once all have ended.
        """
        require_calls(*calls)
        with self._asked_in(*calls[:1]) as scope:
            return await self.owner.run(
                fan_out,
                calls,
                lambda call, track: self._ask(call, scope, track),
                scope,
                max_concurrency=max_concurrency,
            )

    async def resume_background(self) -> list[Reply | CallError]:
        """Ask the calls that earlier processes have accepted and not answered; see `ask_all`.

        Raises:
            ConfigError: when no queue is configured, or it cannot be used.
            FormatError: when a call in it cannot be read, or its response model is not loaded.
            CallError: a fatal one, once all have ended.
        """
        layer = self._call_path.layers.get("queue")
        if not isinstance(layer, QueueLayer):
            raise ConfigError(
                "no background calls are queued: set load.background.file to the queue's file"
            )
        return await self.ask_all(await self.owner.run(layer.calls_left))

    async def prepare(self) -> None:
        """Load the token tables in a thread, so that no call has to on the event loop."""
        for endpoint in self._all_endpoints():
            await asyncio.to_thread(self._estimator.load, endpoint.model)

    async def drain(self, seconds: float = 30.0, *, reason: str = "it is ending") -> Drained:
        """Accept no further call, and return once all calls under way have ended and are settled.

        Args:
            seconds: time after which those that are left are cancelled; at least 0.
            reason: what later calls give as the reason in their `RunStopped`.

        Raises:
            ConfigError: when `seconds` is negative or no number.
        """
        return await self.owner.run(self._gate.drain, seconds, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the clients, the cache and the private loop. Safe to call twice.

        Calls under way are cancelled and end in `RunStopped`; `drain` lets them end first.
        """
        await self.owner.aclose()

    def close(self) -> None:
        """Do what `aclose` does, for synchronous code."""
        self.owner.close()

    async def _close_parts(self) -> None:
        # Their connections are closed below: a call that went on would be sent, and paid, again.
        await self._gate.end_calls("its budgeter was closed")
        await self._call_path.aclose()
        endpoints = [*self._given_endpoints.values(), *self._endpoints.values()]
        candidates = (each for asked in endpoints for each in asked.candidates)
        clients = {id(endpoint.client): endpoint.client for endpoint in candidates}
        for client in clients.values():
            if self._shared is None or not self._shared.is_common(client):
                await client.aclose()
        if self._cache is not None:
            await self._cache.aclose()
        if self._fleet is not None:
            await self._fleet.aclose()

    def _all_endpoints(self) -> list[Endpoint]:
        return [each for asked in self._endpoints.values() for each in asked.candidates]

    def _asked_in(self, call: Call | None = None) -> AbstractContextManager[Scope]:
        """Return the scope that a call is asked in.

        A node that the program has opened itself counts before the node of the call's origin.
        """
        scope, origin = self.current, None if call is None else call.origin
        if origin is None or not origin.node or scope.node is not None:
            return nullcontext(scope)
        return scope.open(ScopeKind.NODE, origin.node, mark=step_mark(origin))

    async def _ask(self, call: Call, scope: Scope, track: CriticalPathTrack) -> Reply:
        return (await self._first_layer(InFlightCall(call, scope, track))).reply
