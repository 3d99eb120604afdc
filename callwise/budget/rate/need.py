"""The need of one request: the limits that cover it, and the amounts that it takes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from callwise.calls.call import Purpose

if TYPE_CHECKING:
    from callwise.budget.rate.gate import UsedPart
    from callwise.budget.rate.meters import Charge, Meter
    from callwise.budget.work import Shipment, Work

__all__ = ["MeterLine", "RateAmounts", "RateNeed", "RatePart", "need_of"]

RateAmounts: TypeAlias = tuple[float, float, float, float]
"""Amounts of the limited quantities, in the order of `DIMENSIONS`."""


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


@dataclass(slots=True)
class MeterLine:
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
        amounts: what all its calls take together of each quantity, in the order of `DIMENSIONS`,
            once a gate was asked: by estimate, and what they have used once that is known.
        further: the meters of keys, users and so on that cover it, and what it takes of each.
        used_parts: what is known of the estimates of its purposes.
        is_open: whether it was taken and not settled.
        at_seconds: when it was taken; once it has charges, when it was settled.
        charges: what each of the endpoint's own meters has counted of it while it was open: the
            meter, its quantity, and the charge.
        further_charges: what was taken of each of the further ones.
        generation: the limits that `amounts` and `further` were made for.
        bound: the line that it waits for, or waited for last.
    """

    amounts: RateAmounts = (0.0, 0.0, 0.0, 0.0)
    further: "Sequence[tuple[MeterLine, float]]" = ()
    used_parts: "Sequence[tuple[UsedPart, UsedPart]]" = ()
    is_open = False
    at_seconds = 0.0
    charges: "Sequence[tuple[Meter, int, Charge]]" = ()
    further_charges: "Sequence[tuple[MeterLine, Charge]]" = ()
    generation = -1
    bound: MeterLine | None = None

    def __init__(self, parts: Sequence[RatePart]) -> None:
        self.parts = parts


def need_of(shipment: "Shipment") -> RateNeed:
    """Return what a shipment needs, by the estimates of its calls."""
    return RateNeed(tuple(map(_part_of, shipment.works)))


def _part_of(work: "Work") -> RatePart:
    tokens, _, _, output_tokens = work.estimate()
    scope = work.payer.scope
    return RatePart(
        tokens - output_tokens,
        output_tokens,
        work.call.purpose,
        scope.user or "",
        scope.tenant or "",
    )
