"""Layer `choose`: a policy chooses which models answer a call.

The first layer, so that every model that a policy asks is a call with its own key, outcome and
row, and its repairs too. A call that names its model is passed on, and so is an embedding: vectors
of different models have nothing in common.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.clock import Clock
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.layers.ledger import endpoint_of
from callwise.budget.policies import ModelQuestion, Policy, policy_of
from callwise.budget.policies.cascade import Cascade
from callwise.budget.policies.route import RouteByTable
from callwise.budget.recorder import RecordsChoices
from callwise.budget.token_estimate import Estimator
from callwise.calls.call import Purpose
from callwise.calls.choice import Choice
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.calls.key import call_key
from callwise.calls.policies import DEFAULT_POLICY, PolicyKnobs

__all__ = ["ChooseLayer"]


class ChooseLayer:
    """Asks the models that the policy of a call's purpose chooses.

    Args:
        policies: knobs by purpose, or `default` for chat calls of all others.
        recorder: its choices are taken before anything is decided; None decides all.
        amend: writes into the row of an ended call what a policy has found of its answer.

    Raises:
        ConfigError: when a key is no purpose, or that of embeddings; when a policy names a model
            without an endpoint.
    """

    def __init__(
        self,
        policies: Mapping[str, PolicyKnobs],
        endpoints: Mapping[str, Endpoint],
        estimator: Estimator,
        clock: Clock,
        recorder: object = None,
        *,
        amend: Callable[[InFlightCall, Choice], None],
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._endpoints = endpoints
        self._estimator = estimator
        self._clock = clock
        self._amend = amend
        self._next = next
        self._recorder = recorder if isinstance(recorder, RecordsChoices) else None
        self._policies: dict[str, Policy] = {}
        self._tables: dict[Policy, str] = {}
        for purpose, knobs in policies.items():
            if purpose != DEFAULT_POLICY and purpose not in tuple(Purpose):
                known = ", ".join((DEFAULT_POLICY, *Purpose))
                raise ConfigError(f"policies.{purpose:.80}: no such purpose; known: {known}")
            if purpose == Purpose.EMBED:
                raise ConfigError("policies.embed chooses nothing: embeddings stay with one model")
            policy = self._policies[str(purpose)] = policy_of(knobs)
            for model in policy.models:
                if model not in endpoints:
                    names = ", ".join(endpoints) or "none"
                    raise ConfigError(
                        f"policies.{purpose} names the model {model!r:.80}, and there are: "
                        f"{names}. Add it to `models`"
                    )
            if isinstance(policy, RouteByTable):
                policy.require_prices(purpose, endpoints)
            if isinstance(policy, Cascade):
                policy.require_distinct(purpose, endpoints)
            self._tables[policy] = _digest(policy, endpoints)

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return the answer of the models that are chosen, or of the one that was named."""
        call = carried.call
        if call.model or call.is_embedding:
            return self._next(carried)
        policy = self._policies.get(call.purpose) or self._policies.get(DEFAULT_POLICY)
        if policy is None:
            return self._next(carried)
        endpoint = endpoint_of(call, self._endpoints)
        completed = endpoint.completed(call)
        asked = call_key(completed, endpoint=endpoint.name, model=endpoint.model)
        where = carried.where_at(endpoint)
        if self._recorder is not None:
            asked = self._recorder.asked_key(asked, completed, where)
        return policy.answer(
            ModelQuestion(
                carried,
                asked,
                policy.kind,
                self._tables[policy],
                self._endpoints,
                self._estimator,
                self._next,
                self._amend,
                where,
                self._recorder,
            )
        )

    def statistics(self) -> Mapping[str, int | float]:
        """Return what each purpose's policy has counted, as `judge_to_small`."""
        return {
            f"{purpose}_{name}": count
            for purpose, policy in self._policies.items()
            for name, count in policy.statistics().items()
        }


def _digest(policy: Policy, endpoints: Mapping[str, Endpoint]) -> str:
    """Return the digest of a policy's settings and of the facts of its models that decide too."""
    facts = [
        (
            name,
            endpoints[name].prices,
            endpoints[name].capabilities.context_tokens,
            sorted(endpoints[name].capabilities.refused),
        )
        for name in policy.models
    ]
    return hashlib.sha256(repr((policy.digest, facts)).encode()).hexdigest()[:16]
