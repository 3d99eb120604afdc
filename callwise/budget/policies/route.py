"""Policy `route`: one model for each call."""

import hashlib
from collections import Counter
from collections.abc import Mapping

from callwise.budget.in_flight import ReadReply
from callwise.budget.policies.model_question import ModelQuestion
from callwise.calls.policies.route_policy import RoutePolicy

__all__ = ["RouteByTable"]


class RouteByTable:
    """Asks one model per call."""

    kind = "route"

    def __init__(self, knobs: RoutePolicy) -> None:
        self._knobs = knobs
        self.models = knobs.models
        self.digest = hashlib.sha256(knobs.model_dump_json().encode()).hexdigest()[:16]
        self._counts: Counter[str] = Counter()

    async def answer(self, question: ModelQuestion) -> ReadReply:
        """Return the answer of the model that is chosen.

        Raises:
            CallError: what ended it instead.
        """
        model, *others = self.models
        self._counts[model] += 1
        reason = "the first of its policy"
        return await question.ask(question.choice(model, reason=reason, alternatives=tuple(others)))

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls each model was given."""
        return {f"to_{model}": count for model, count in self._counts.items()}
