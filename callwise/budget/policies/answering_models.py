"""The endpoints that may answer a call, whatever a policy chooses, and the most it may reserve."""

from collections.abc import Mapping

from callwise.budget.layers.ledger import endpoint_of
from callwise.budget.token_estimate import Estimate, Estimator
from callwise.calls.call import Call
from callwise.calls.client import Endpoint
from callwise.calls.policies import DEFAULT_POLICY, PolicyKnobs

__all__ = ["AnsweringModels"]


class AnsweringModels:
    """The endpoints that may answer a call, by the policy of its purpose.

    Args:
        policies: knobs by purpose, or `default`.
        endpoints: by role or model; looked up when they are asked for.
    """

    def __init__(
        self,
        policies: Mapping[str, PolicyKnobs],
        endpoints: Mapping[str, Endpoint],
        estimator: Estimator,
    ) -> None:
        self._policies = policies
        self._endpoints = endpoints
        self._estimator = estimator

    def endpoints_of(self, call: Call) -> tuple[Endpoint, ...]:
        """Return the endpoints of which one answers a call.

        Raises:
            UnknownRole: when no endpoint serves its role, or has its `model`.
        """
        if not (call.model or call.is_embedding):
            policies = self._policies
            policy = policies.get(call.purpose) or policies.get(DEFAULT_POLICY)
            if policy is not None:
                return tuple(self._endpoints[name] for name in policy.answering)
        return (endpoint_of(call, self._endpoints),)

    def estimate(self, call: Call) -> Estimate:
        """Return what one attempt at a call reserves at most, whichever of them is asked.

        Raises:
            UnknownRole: when no endpoint serves its role, or has its `model`.
        """
        estimate = self._estimator.estimate
        first, *others = [
            estimate(endpoint.completed(call), endpoint) for endpoint in self.endpoints_of(call)
        ]
        for other in others:
            first = first._replace(
                tokens=max(first.tokens, other.tokens),
                picodollars=max(first.picodollars, other.picodollars),
            )
        return first
