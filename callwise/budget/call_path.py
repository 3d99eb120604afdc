"""The call path: what happens to a call between asking and sending, as one list of layers.

A call goes down the list and its answer comes back up. `choose` to `share` carry an
`InFlightCall`, `retry` to `send` the `Work` that is paid for, which may outlive the call that
began it. Every layer keeps the one below it as `next`. Which layers there are is decided when a
budgeter is built; a layer that is not configured is not in the list.

    choose         asks the models that a policy chooses
    repair         asks again, bounded, while the answer does not fit its form
    embed          asks for the vector of a call that is compared with similar ones
    ledger         opens the call; closes it with one outcome and one row
    replay         answers from a recording, and records calls that were not in it
    admit          counts the call against the limits of every scope, or refuses it
    admit_fleet    counts it against the limits that several processes share
    cache          answers from replies kept for equal calls
    similar        answers from replies to similar calls, once few of those are proved wrong
    share          one piece of work for equal calls under way
    queue          keeps background calls on disk until they end
    retry          one attempt after another, by class of error
    hedge          begins a second attempt next to a slow one, and takes the faster
    reserve_fleet  reserves one attempt in the limits that several processes share
    reserve        reserves one attempt in all scopes, and settles it
    route          gives it to an endpoint that is not down; counts its end for the breaker
    batch_api      gives background calls to their provider's batch interface
    batch          collects what may travel in one request
    schedule       waits for its turn at its endpoint: order, slots, rate limits
    rate_fleet     waits for its turn under rate limits that several processes share
    send           one request to the client within the time left

Order within one call that must not move:

1. From `ledger` to the first reservation nothing awaits, except a cache tier outside of memory
   and `admit_fleet`: so a refused call returns its quota before the next one asks. `share` makes
   the first reservation itself, before it starts any task.
2. The cache is written inside the work, before `share` forgets the key: else an equal call asked
   in between would find neither, and be sent.
3. Secrets are removed from an error in `send`, before `replay` records it.
4. `replay` records a call before `ledger` writes its row; both are synchronous.
5. `admit_fleet` is below `replay`, which asks no server, and below `admit`: what this process
   refuses is asked nowhere. `reserve_fleet` is above `reserve`: it settles what that has settled.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from callwise.budget.batch_api.background_queue import BackgroundQueues
from callwise.budget.breaker import Breakers
from callwise.budget.clock import Clock
from callwise.budget.fleet.fleet import Fleet
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.layers.admit import AdmitLayer
from callwise.budget.layers.admit_fleet import AdmitFleetLayer
from callwise.budget.layers.batch import BatchLayer
from callwise.budget.layers.batch_api import BatchApiLayer
from callwise.budget.layers.cache import CacheLayer, ReplyCache
from callwise.budget.layers.choose import ChooseLayer
from callwise.budget.layers.embed import EmbedLayer
from callwise.budget.layers.hedge import HedgeLayer
from callwise.budget.layers.ledger import Ledger, LedgerLayer
from callwise.budget.layers.queue import QueueLayer
from callwise.budget.layers.rate_fleet import RateFleetLayer
from callwise.budget.layers.repair import RepairLayer
from callwise.budget.layers.replay import ReplayLayer
from callwise.budget.layers.reserve import ReserveLayer
from callwise.budget.layers.reserve_fleet import ReserveFleetLayer
from callwise.budget.layers.retry import RetryLayer
from callwise.budget.layers.route import RouteLayer
from callwise.budget.layers.schedule import ScheduleLayer
from callwise.budget.layers.send import SendLayer
from callwise.budget.layers.share import ShareLayer
from callwise.budget.layers.similar import SimilarLayer
from callwise.budget.policies.answering_models import AnsweringModels
from callwise.budget.rate import RateGates
from callwise.budget.recorder import Recorder
from callwise.budget.redactor import Redactor
from callwise.budget.router import Router
from callwise.budget.run_gate import RunGate
from callwise.budget.shared_requests import SharedRequests
from callwise.budget.similar import SimilarReuse
from callwise.budget.token_estimate import Estimator
from callwise.calls.client import Endpoint
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.policies import PolicyKnobs
from callwise.calls.retry import RetryPolicy

__all__ = ["CallPath", "Layer", "build_call_path"]

CarriedT_contra = TypeVar("CarriedT_contra", contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Layer(Protocol[CarriedT_contra, AnswerT_co]):
    """One layer: takes what it carries, and returns the answer or raises what ended it."""

    def __call__(self, carried: CarriedT_contra) -> Awaitable[AnswerT_co]:
        """Pass the carried call on, or answer it."""
        ...

    def statistics(self) -> Mapping[str, int | float]:
        """Return what the layer has counted since it was built."""
        ...


class CallPath(NamedTuple):
    """The layers of one budgeter by name, from the first to the last.

    Args:
        common: names of the layers that several budgeters have in common, which close nothing here.
    """

    layers: Mapping[str, Layer[Any, Any]]
    breakers: Breakers
    common: frozenset[str] = frozenset()

    @property
    def first(self) -> Callable[[InFlightCall], Awaitable[ReadReply]]:
        """The layer that a call is given to."""
        return next(iter(self.layers.values()))

    async def aclose(self) -> None:
        """Let each layer that keeps something open release it, the last first. Safe to repeat."""
        for name, layer in reversed(tuple(self.layers.items())):
            close = getattr(layer, "aclose", None)
            if close is not None and name not in self.common:
                await close()

    def statistics(self) -> dict[str, dict[str, int | float]]:
        """Return what each layer has counted, by its name, in the order of the path."""
        return {name: dict(layer.statistics()) for name, layer in self.layers.items()}


def load_by_endpoint(load: LoadKnobs) -> Callable[[Endpoint], LoadKnobs]:
    """Return a function that returns the knobs of an endpoint: its own, laid over the run's."""
    known: dict[tuple[str, str], LoadKnobs] = {}

    def load_of(endpoint: Endpoint) -> LoadKnobs:
        key = endpoint.identity
        found = known.get(key)
        if found is None:
            found = known[key] = load.laid_under(endpoint.load)
        return found

    return load_of


def build_call_path(  # noqa: C901 - one line for each layer that is optional
    endpoints: Mapping[str, Endpoint],
    *,
    ledger: Ledger,
    clock: Clock,
    estimator: Estimator,
    cache: ReplyCache | None,
    similar: SimilarReuse | None,
    recorder: Recorder | None,
    retry: RetryPolicy,
    seed: int,
    redactor: Redactor,
    load: LoadKnobs,
    policies: Mapping[str, PolicyKnobs],
    gate: RunGate,
    notify: Callable[[str], None] | None,
    fleet: Fleet | None = None,
    shared: SharedRequests | None = None,
) -> CallPath:
    """Return the layers that a budgeter is configured with, each bound to the next one.

    Without a cache, a recorder or a fleet its layers are left out. The retry policy is for
    endpoints that have none; the seed is that of the jitter. `notify` is called with what a
    person should know while a call waits. With `shared` the layers from `batch_api` to `send` are
    those of its first budgeter.
    """
    load_of = load_by_endpoint(load)
    for endpoint in endpoints.values():
        load_of(endpoint)  # what does not fit together is an error before anything is asked
    is_live = not clock.is_virtual
    breakers = Breakers(clock, notify, lambda endpoint: load_of(endpoint).breaker)
    lower = SharedRequests() if shared is None else shared
    if not lower.layers:
        _build_lower(
            lower,
            load_of,
            clock=clock,
            redactor=redactor,
            load=load,
            notify=notify,
            fleet=fleet,
            given=partial(_is_given, load, endpoints),
        )
    if fleet is not None:
        fleet.breakers.connect(breakers)
    queues, path = lower.queues, _Path()
    for name, layer in lower.layers.items():
        path.add(name, layer)
    router = Router(clock, breakers, load_of, gate)
    path.add("route", RouteLayer(router, breakers, clock, next=path.last))
    path.add("reserve", ReserveLayer(clock, next=path.last))
    if fleet is not None:
        path.add("reserve_fleet", ReserveFleetLayer(fleet.budget, next=path.last))
    if is_live and _is_hedging(endpoints, load_of):
        path.add("hedge", HedgeLayer(clock, estimator, load_of, breakers, next=path.last))
    path.add(
        "retry",
        RetryLayer(clock, retry, seed, breakers, router, notify=notify, next=path.last),
    )
    if queues is not None:
        path.add("queue", QueueLayer(load_of, queues, endpoints.values, next=path.last))
    carrying = [lower.layers[name] for name in ("batch", "batch_api") if name in lower.layers]
    carries = [layer.carries for layer in carrying]
    share = ShareLayer(clock, estimator, carries=carries, next=path.last)
    path.add("share", share)
    lower.join(share)
    if similar is not None:
        path.add(
            "similar",
            SimilarLayer(similar, endpoints, share.is_under_way, clock, next=path.last),
        )
    if cache is not None:
        path.add("cache", CacheLayer(cache, share.is_under_way, clock, next=path.last))
    if fleet is not None:
        stop_seconds = None if load.breaker is None else load.breaker.stop_seconds
        path.add(
            "admit_fleet",
            AdmitFleetLayer(fleet.budget, gate, stop_seconds=stop_seconds, next=path.last),
        )
    path.add("admit", AdmitLayer(next=path.last))
    if recorder is not None:
        path.add("replay", ReplayLayer(recorder, estimator, clock, next=path.last))
    path.add(
        "ledger",
        LedgerLayer(
            ledger,
            endpoints,
            clock=clock,
            estimate=AnsweringModels(policies, endpoints, estimator).estimate,
            redactor=redactor,
            gate=gate,
            load_of=load_of,
            next=path.last,
        ),
    )
    if similar is not None and similar.embeds:
        path.add("embed", EmbedLayer(similar, next=path.last))
    path.add("repair", RepairLayer(next=path.last))
    if policies:
        path.add(
            "choose",
            ChooseLayer(
                policies,
                endpoints,
                estimator,
                clock,
                recorder,
                amend=ledger.amend,
                next=path.last,
            ),
        )
    common = () if shared is None else (*lower.layers, "queue")
    return CallPath(dict(reversed(path.layers.items())), breakers, frozenset(common))


def _build_lower(
    lower: SharedRequests,
    load_of: Callable[[Endpoint], LoadKnobs],
    *,
    clock: Clock,
    redactor: Redactor,
    load: LoadKnobs,
    notify: Callable[[str], None] | None,
    fleet: Fleet | None,
    given: Callable[..., bool],
) -> None:
    """Build the layers from `send` up to `batch_api`; `given` returns whether knobs are given."""
    is_live, path = not clock.is_virtual, _Path()
    path.add("send", SendLayer(clock, redactor))
    if fleet is not None:
        path.add("rate_fleet", RateFleetLayer(fleet, load, clock, next=path.last))
    if is_live and given("schedule", "rate"):
        gates = RateGates(load_of, clock, notify, None if fleet is None else fleet.gate)
        path.add("schedule", ScheduleLayer(clock, load, gate_of=gates.gate, next=path.last))
    if is_live and given("batch"):
        path.add("batch", BatchLayer(clock, load_of, lower.in_flight, next=path.last))
    if is_live and given("background"):
        lower.queues = BackgroundQueues(clock)
        path.add("batch_api", BatchApiLayer(load_of, lower.queues, clock, redactor, next=path.last))
    lower.layers = path.layers


class _Path:
    """A call path that is being built, from its last layer up.

    Attributes:
        last: the layer that was added last: the one below the next.
    """

    last: Layer[Any, Any]

    def __init__(self) -> None:
        self.layers: dict[str, Layer[Any, Any]] = {}

    def add(self, name: str, layer: Layer[Any, Any]) -> None:
        """Add the layer above."""
        self.layers[name] = self.last = layer


def _is_hedging(
    endpoints: Mapping[str, Endpoint], load_of: Callable[[Endpoint], LoadKnobs]
) -> bool:
    routes = (load_of(asked).route for asked in endpoints.values())
    return any(route is not None and route.is_hedging for route in routes)


def _is_given(load: LoadKnobs, endpoints: Mapping[str, Endpoint], *groups: str) -> bool:
    """Return whether a group of knobs is given for the run, or for one of its endpoints."""
    candidates = (each for asked in endpoints.values() for each in asked.candidates)
    given = [load, *(each.load for each in candidates if each.load is not None)]
    return any(getattr(knobs, group) is not None for knobs in given for group in groups)
