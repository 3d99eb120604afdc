"""Policy `route`: one model for each call, by the table of its purpose.

A decision is a pure function of the call, the table and what is left of the limits: no clock, no
random number, and no count that an answer has corrected. Entries that cannot answer the call, are
asked for simpler ones only, are not good enough or cost too much are left out; of the others the
cheapest is asked. An unknown price is not 0: it loses against each known one. Where none is left,
the last resort is the strongest of those that can answer and do not cost too much, then of those
that can answer, then of all.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from callwise.budget.in_flight import ReadReply
from callwise.budget.policies.complexity import Complexity, complexity_of, prompt_tokens
from callwise.budget.policies.model_question import ModelQuestion
from callwise.budget.token_estimate import Estimator
from callwise.calls.call import Call
from callwise.calls.choice import Choice
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.calls.policies.route_policy import RouteEntry, RoutePolicy

__all__ = ["NOTHING_LEFT_OUT", "BudgetLeft", "RouteByTable", "RouteDecision"]

DEFAULT_FULL_TOKENS = 8192
"""Length of a prompt that counts as 1, where no context is known."""

MAX_TOKENS_PER_ABOUT = 8
"""Most tokens for each one of `prompt_tokens`. Tokens are counted only where so many could be more
than a context."""

MAX_SHOWN_PARTS = 2
"""Parts of the complexity that a reason has."""


class BudgetLeft(NamedTuple):
    """Share that is left of the tightest limit of calls or USD.

    Args:
        share: in [0, 1]; 1 where nothing is limited.
        limit: that limit's name.
    """

    share: float = 1.0
    limit: str = ""


NOTHING_LEFT_OUT = BudgetLeft()
"""The share where nothing is limited."""


class RouteDecision(NamedTuple):
    """The model for one call.

    Args:
        reason: why this one, in a sentence.
        alternatives: each of the others, and why not it.
    """

    model: str
    reason: str
    alternatives: tuple[str, ...]
    complexity: Complexity


class _Option(NamedTuple):
    """One entry as it is for a call.

    Args:
        cannot: why it cannot answer; empty where it can.
        is_dear: whether it costs more than the table allows.
        unfit: why it is not asked, all reasons counted; empty where it may be.
        usd: what it costs, None where that is not known.
    """

    place: int
    entry: RouteEntry
    cannot: str
    is_dear: bool
    unfit: str
    usd: float | None


class _BoundEntry(NamedTuple):
    """One entry with the endpoint of its model, and what is the same for all calls.

    Args:
        context_tokens: the endpoint's, where known.
        too_weak: why its quality is not enough; empty where it is.
    """

    entry: RouteEntry
    endpoint: Endpoint
    context_tokens: int | None
    too_weak: str


class _Table(NamedTuple):
    """A table with the endpoints of its models.

    Args:
        full_tokens: length of a prompt that counts as 1, where no knob sets it.
        is_measured: whether each model that has a price has a measured one.
    """

    entries: tuple[_BoundEntry, ...]
    full_tokens: int
    is_measured: bool


class RouteByTable:
    """Asks the cheapest model of a table that can answer a call and is good enough."""

    kind = "route"

    def __init__(self, knobs: RoutePolicy) -> None:
        self._knobs = knobs
        self.models = knobs.models
        self.digest = hashlib.sha256(knobs.model_dump_json().encode()).hexdigest()[:16]
        self.is_by_budget = knobs.save_below > 0
        seconds = [each.seconds for each in knobs.table if each.seconds is not None]
        self._seconds = max(seconds, default=None)
        self._counts: Counter[str] = Counter()
        self._bound_to: tuple[Mapping[str, Endpoint], _Table] | None = None

    def require_prices(self, purpose: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Do nothing where each price that the table needs is known.

        Raises:
            ConfigError: when it has `max_usd`, and a model without prices.
        """
        if self._knobs.max_usd is None:
            return
        unpriced = [name for name in self.models if endpoints[name].prices is None]
        if unpriced:
            raise ConfigError(
                f"policies.{purpose}.max_usd cannot bind: {', '.join(unpriced):.200} has no "
                "prices. Set `prices` of the model (0 where it is free), or leave max_usd out"
            )

    async def answer(self, question: ModelQuestion) -> ReadReply:
        """Return the answer of the model that is chosen.

        Raises:
            CallError: what ended it instead.
        """
        choice = question.recorded(is_by_budget=self.is_by_budget) or self._choice(question)
        self._counts[choice.model] += 1
        return await question.ask(choice)

    def _choice(self, question: ModelQuestion) -> Choice:
        left = NOTHING_LEFT_OUT
        if self.is_by_budget:
            quotas = question.carried.scope.scope_limits.quotas(question.call.role)
            shares = [quota.least_share_left() for quota in quotas]
            left = BudgetLeft(*min(shares, default=NOTHING_LEFT_OUT))
        decision = self.decide(question.call, question.endpoints, question.estimator, left)
        return question.choice(
            decision.model, reason=decision.reason, alternatives=decision.alternatives
        )

    def decide(
        self,
        call: Call,
        endpoints: Mapping[str, Endpoint],
        estimator: Estimator,
        left: BudgetLeft = NOTHING_LEFT_OUT,
    ) -> RouteDecision:
        """Return the model for a call. Asks nothing.

        Args:
            endpoints: by name; those of all models of the table.
            left: what is left of the limits that bind the call.
        """
        knobs, max_usd = self._knobs, self._knobs.max_usd
        table = self._bound(endpoints)
        tokens, output_tokens = prompt_tokens(call), estimator.output_tokens(call)
        complexity = complexity_of(
            call,
            knobs.complexity,
            full_tokens=table.full_tokens,
            seconds=self._seconds,
            tokens=tokens,
        )
        is_saving = left.share < knobs.save_below
        needs = _needs(call)
        most_tokens = tokens * MAX_TOKENS_PER_ABOUT + (call.sampling.max_tokens or 0)
        options = []
        for place, (entry, endpoint, context_tokens, too_weak) in enumerate(table.entries):
            cannot = ""
            if needs or (context_tokens is not None and most_tokens > context_tokens):
                cannot = _cannot(call, needs, most_tokens, endpoint, estimator)
            prices, usd, is_dear, unfit = endpoint.prices, entry.usd_per_call, False, cannot
            if prices is not None and max_usd is not None:
                counted_usd = prices.usd(*estimator.counted(call, endpoint))
                is_dear = counted_usd > max_usd
                if is_dear and not unfit:
                    unfit = f"{counted_usd:.3g} USD is more than max_usd {max_usd:g}"
            if not table.is_measured:
                usd = None if prices is None else prices.usd(tokens, output_tokens)
            if not unfit and not is_saving:
                if complexity.value > entry.max_complexity:
                    above = f"is above {entry.max_complexity:g}"
                    unfit = f"complexity {complexity.value:.2f} {above}"
                else:
                    unfit = too_weak
            options.append(_Option(place, entry, cannot, is_dear, unfit, usd))
        fitting = [each for each in options if not each.unfit]
        if fitting:
            chosen = min(fitting, key=_cheapness)
            why = _why_cheapest(chosen, fitting)
            if is_saving:
                why = (
                    f"saving: {left.share:.0%} of {left.limit} is left, less than save_below "
                    f"{knobs.save_below:g}; {why}"
                )
        else:
            chosen, why = _last_resort(options)
        return RouteDecision(
            chosen.entry.model,
            f"{why}; {complexity.explain(MAX_SHOWN_PARTS)}",
            tuple(_why_not(each, chosen) for each in options if each is not chosen),
            complexity,
        )

    def _too_weak(self, entry: RouteEntry) -> str:
        least = self._knobs.min_quality
        if least is None:
            return ""
        if entry.quality is None:
            return "its quality is not known"
        return f"quality {entry.quality:g} is below {least:g}" if entry.quality < least else ""

    def _bound(self, endpoints: Mapping[str, Endpoint]) -> _Table:
        """Return the table with the endpoints of its models; the last one is kept."""
        if self._bound_to is not None and self._bound_to[0] is endpoints:
            return self._bound_to[1]
        entries = []
        for entry in self._knobs.table:
            endpoint = endpoints[entry.model]
            context_tokens = endpoint.capabilities.context_tokens
            too_weak = self._too_weak(entry)
            entries.append(_BoundEntry(entry, endpoint, context_tokens, too_weak))
        known = [each.context_tokens for each in entries if each.context_tokens is not None]
        priced = [
            each.entry
            for each in entries
            if each.endpoint.prices is not None or each.entry.usd_per_call is not None
        ]
        table = _Table(
            tuple(entries),
            min(known, default=DEFAULT_FULL_TOKENS),
            all(entry.usd_per_call is not None for entry in priced),
        )
        self._bound_to = endpoints, table
        return table

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls each model was given."""
        return {f"to_{model}": count for model, count in self._counts.items()}


def _needs(call: Call) -> list[str]:
    """Return the request fields that a call cannot do without, as `refused` names them."""
    needs = []
    if call.tools:
        needs.append("tools")
    if call.response_model is not None:
        needs.append("response_format")
    if call.sampling.top_logprobs is not None:
        needs.append("logprobs")
    for message in call.messages:
        if message.parts and any(part.get("type") == "image_url" for part in message.parts):
            needs.append("image_url")
            break
    return needs


def _cannot(
    call: Call, needs: list[str], most_tokens: int, endpoint: Endpoint, estimator: Estimator
) -> str:
    """Return why an endpoint cannot answer a call, as far as settings say; empty where it can."""
    capabilities = endpoint.capabilities
    if needs and capabilities.refused:
        lacking = [name for name in needs if name in capabilities.refused]
        if lacking:
            return f"takes no {', '.join(lacking)}"
    context = capabilities.context_tokens
    if context is None:
        return ""
    if not (call.tools or call.response_model) and most_tokens <= context:
        return ""
    tokens = estimator.counted(call, endpoint)[0] + (call.sampling.max_tokens or 0)
    return f"some {tokens} tokens are more than its {context}" if tokens > context else ""


def _cheapness(option: _Option) -> tuple[bool, float, int]:
    return option.usd is None, option.usd or 0.0, option.place


def _why_cheapest(chosen: _Option, fitting: list[_Option]) -> str:
    if chosen.usd is None:
        return "first that is good enough: no price is known"
    kind = "only one" if len(fitting) == 1 else "cheapest"
    return f"{kind} that is good enough: {chosen.usd:.3g} USD"


def _last_resort(options: list[_Option]) -> tuple[_Option, str]:
    able = [each for each in options if not each.cannot]
    cheap = [each for each in able if not each.is_dear]
    left = cheap or able or options
    if all(each.entry.quality is None for each in left):
        return left[0], "last resort: none fits; the first"
    strongest = max(left, key=lambda each: (each.entry.quality or 0.0, -each.place))
    return strongest, f"last resort: none fits; the strongest, though {strongest.unfit}"


def _why_not(option: _Option, chosen: _Option) -> str:
    why = option.unfit
    if not why and option.usd is None and chosen.usd is not None:
        why = "its price is not known"
    elif not why and option.usd is not None:
        why = f"{option.usd:.3g} USD"
    return f"{option.entry.model}: {why or 'later in the table'}"
