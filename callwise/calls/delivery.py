"""Record of the way on which a call was answered: what load and failures have decided."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["DIRECT", "Delivery"]


class Delivery(NamedTuple):
    """The way on which one call was answered, where it is not the usual one.

    It is a fact of the exchange: written into its row and its recording, and replayed; a replay
    never decides it again.

    Args:
        endpoint: the endpoint that served it, where that is another than the one asked.
        model: its model, likewise.
        batch: id of the request that carried it with other calls; empty for none.
        batch_size: calls that this request carried; 0 for none.
        is_apportioned: whether the usage of such a request, also of one that failed, was reported
            as one sum, or not at all, and this call was counted a part of it.
        hedges: further attempts that were made while another one was under way, for the
            faster of the two.
        discount: part of the list price that was not charged, in [0, 1], as for a batch that may
            take a day.
        similar: key of the similar call whose answer was used again; empty for none.
        similarity: of the two calls, in [0, 1]; 0 for none.
    """

    endpoint: str = ""
    model: str = ""
    batch: str = ""
    batch_size: int = 0
    is_apportioned: bool = False
    hedges: int = 0
    discount: float = 0.0
    similar: str = ""
    similarity: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are not as usual."""
        return {
            name: value
            for name, value, usual in zip(self._fields, self, DIRECT, strict=True)
            if value != usual
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Delivery":
        """Return the delivery in a JSON object.

        Raises:
            ValueError: when it has other fields, or values of another type; names them.
        """
        unknown = sorted(document.keys() - set(cls._fields))
        if unknown:
            raise ValueError(f"the field delivery has no {', '.join(map(repr, unknown))}")
        for name, value in document.items():
            usual = getattr(DIRECT, name)
            kinds = (int, float) if isinstance(usual, float) else type(usual)
            is_right = isinstance(value, kinds) and isinstance(value, bool) is (usual is False)
            if not is_right or (not isinstance(value, str) and not 0 <= value < _MAX_COUNT):
                raise ValueError(f"the field delivery.{name} cannot be {value!r:.60}")
        return cls(**document)


_MAX_COUNT = 10**9

DIRECT = Delivery()
"""One request to the endpoint that was asked, for this call alone."""
