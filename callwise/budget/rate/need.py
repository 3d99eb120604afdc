"""The need of one request: the limits that cover it, and the amounts that it takes of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from callwise.calls.call import Purpose

if TYPE_CHECKING:
    from callwise.budget.rate.meters import Charge, Meter
    from callwise.budget.work import Shipment

__all__ = ["MeterLine", "RateNeed", "RatePart", "need_of"]


class RatePart(NamedTuple):
    """One call of a request.

    Args:
        input_tokens: estimated tokens of its prompt.
        output_tokens: most tokens that its answer may have, by estimate.
        user: id of the user that it is asked for; empty where none is known. So is `tenant`.
    """

    input_tokens: int
    output_tokens: int
    purpose: Purpose = Purpose.OTHER
    user: str = ""
    tenant: str = ""


class MeterLine(NamedTuple):
    """A meter that a request takes from.

    Args:
        name: of its limit, such as `user.tokens_per_minute`.
        dimension: the limited quantity, as a place in `Rates.per_minute`.
        parts: places of the calls that it covers.
        alone: the user, tenant, purpose or kind that it limits, such as `("user", "u1")`; None
            for a limit of the endpoint or its key.
    """

    meter: "Meter"
    name: str
    dimension: int
    parts: tuple[int, ...]
    alone: tuple[str, str] | None


class RateNeed:
    """The need of one request: a gate is asked about it, takes it once and settles it once.

    Args:
        parts: its calls; at least one.

    Attributes:
        lines: the meters that cover it, once a gate was asked.
        amounts: what it takes of each of them, by estimate.
        tokens: what all its calls take together, by estimate.
        charges: what was taken, in the order of `lines`; None while nothing is.
        generation: the limits that `lines` was made for.
        bound: the line that it waits for, or waited for last.
    """

    __slots__ = ("amounts", "bound", "charges", "generation", "lines", "parts", "tokens")

    def __init__(self, parts: Sequence[RatePart]) -> None:
        self.parts = tuple(parts)
        self.lines: Sequence[MeterLine] = ()
        self.amounts: Sequence[float] = ()
        self.tokens = 0.0
        self.charges: list[Charge] | None = None
        self.generation = -1
        self.bound: MeterLine | None = None


def need_of(shipment: "Shipment") -> RateNeed:
    """Return what a shipment needs, by the estimates of its calls."""
    parts = []
    for work in shipment.works:
        estimate, scope = work.estimate(), work.payer.scope
        parts.append(
            RatePart(
                estimate.tokens - estimate.output_tokens,
                estimate.output_tokens,
                work.call.purpose,
                scope.user or "",
                scope.tenant or "",
            )
        )
    return RateNeed(parts)
