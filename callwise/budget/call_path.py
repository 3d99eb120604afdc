"""The call path: what happens to a call between asking and sending, as one list of layers.

A call goes down the list and its answer comes back up. `repair` to `share` carry an
`InFlightCall`, `retry` to `send` the `Work` that is paid for, which may outlive the call that
began it. Every layer keeps the one below it as `next`. Which layers there are is decided when a
budgeter is built; a layer that is not configured is not in the list.

    repair    asks again, bounded, while the answer does not fit its form
    ledger    opens the call; closes it with one outcome and one row
    replay    answers from a recording, and records calls that were not in it
    admit     counts the call against the limits of every scope, or refuses it
    cache     answers from replies kept for equal calls
    share     one piece of work for equal calls under way
    queue     keeps background calls on disk until they end
    retry     one attempt after another, by class of error
    reserve   reserves one attempt in all scopes, and settles it
    batch_api gives background calls to their provider's batch interface
    send      one request to the client within the time left

Order within one call that must not move:

1. From `ledger` to the first reservation nothing awaits, except a cache tier on disk: so a
   refused call returns its quota before the next one asks. `share` makes the first reservation
   itself, before it starts any task.
2. The cache is written inside the work, before `share` forgets the key: else an equal call asked
   in between would find neither, and be sent.
3. Secrets are removed from an error in `send`, before `replay` records it.
4. `replay` records a call before `ledger` writes its row; both are synchronous.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from callwise.budget.batch_api.queue import BackgroundQueues
from callwise.budget.clock import Clock
from callwise.budget.health import EndpointHealth
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.layers.admit import AdmitLayer
from callwise.budget.layers.batch_api import BatchApiLayer
from callwise.budget.layers.cache import CacheLayer, ReplyCache
from callwise.budget.layers.ledger import Ledger, LedgerLayer
from callwise.budget.layers.queue import QueueLayer
from callwise.budget.layers.repair import RepairLayer
from callwise.budget.layers.replay import ReplayLayer
from callwise.budget.layers.reserve import ReserveLayer
from callwise.budget.layers.retry import RetryLayer
from callwise.budget.layers.send import SendLayer
from callwise.budget.layers.share import ShareLayer
from callwise.budget.recorder import Recorder
from callwise.budget.redactor import Redactor
from callwise.budget.token_estimate import Estimator
from callwise.budget.work import Work
from callwise.calls.call import Role
from callwise.calls.client import Endpoint
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.reply import Reply
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
    """The layers of one budgeter by name, from the first to the last."""

    layers: Mapping[str, Layer[Any, Any]]

    @property
    def first(self) -> Callable[[InFlightCall], Awaitable[ReadReply]]:
        """The layer that a call is given to."""
        return next(iter(self.layers.values()))

    async def aclose(self) -> None:
        """Let each layer that keeps something open release it, the last first. Safe to repeat."""
        for layer in reversed(tuple(self.layers.values())):
            close = getattr(layer, "aclose", None)
            if close is not None:
                await close()

    def statistics(self) -> dict[str, dict[str, int | float]]:
        """Return what each layer has counted, by its name, in the order of the path."""
        return {name: dict(layer.statistics()) for name, layer in self.layers.items()}


def build_call_path(
    endpoints: Mapping[Role, Endpoint],
    *,
    ledger: Ledger,
    clock: Clock,
    estimator: Estimator,
    cache: ReplyCache | None,
    recorder: Recorder | None,
    retry: RetryPolicy,
    seed: int,
    health: EndpointHealth,
    redactor: Redactor,
    load: LoadKnobs,
) -> CallPath:
    """Return the layers that a budgeter is configured with, each bound to the next one.

    Without a cache or a recorder that layer is left out. The retry policy is for endpoints
    that have none; the seed is that of the jitter.
    """

    def load_of(endpoint: Endpoint) -> LoadKnobs:
        return load.laid_under(endpoint.load)

    layers: dict[str, Layer[Any, Any]] = {}
    layers["send"] = send = SendLayer(clock, redactor)
    to_send: Layer[Work, Reply] = send
    has_queue = not clock.is_virtual and _has_background(load, endpoints)
    queues = BackgroundQueues(clock)
    if has_queue:
        layers["batch_api"] = to_send = BatchApiLayer(
            load_of, queues, clock, redactor, next=to_send
        )
    layers["reserve"] = reserve = ReserveLayer(clock, next=to_send)
    layers["retry"] = repeat = RetryLayer(clock, retry, seed, health, next=reserve)
    to_answer: Layer[Work, Reply] = repeat
    if has_queue:
        layers["queue"] = to_answer = QueueLayer(
            load_of, queues, lambda: list(endpoints.values()), next=repeat
        )
    layers["share"] = share = ShareLayer(clock, estimator, next=to_answer)
    below: Layer[InFlightCall, ReadReply] = share
    if cache is not None:
        layers["cache"] = below = CacheLayer(cache, share.is_under_way, next=below)
    layers["admit"] = below = AdmitLayer(next=below)
    if recorder is not None:
        layers["replay"] = below = ReplayLayer(recorder, estimator, clock, next=below)
    layers["ledger"] = below = LedgerLayer(
        ledger, endpoints, clock=clock, estimator=estimator, redactor=redactor, next=below
    )
    layers["repair"] = RepairLayer(next=below)
    return CallPath(dict(reversed(layers.items())))


def _has_background(load: LoadKnobs, endpoints: Mapping[Role, Endpoint]) -> bool:
    """Return whether background calls of any endpoint are queued on disk."""
    own = (each.load for each in endpoints.values() if each.load is not None)
    return any(knobs.background is not None for knobs in (load, *own))
