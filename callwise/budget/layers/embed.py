"""Layer `embed`: asks for the vector of a call before the call, where `similar` compares vectors.

It is above `ledger`, so the vector is a call like any other: counted, with its own row, recorded,
and asked again by a replay. Whether it is asked follows from the call and the settings alone, not
from what is kept at that moment.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.similar.reuse import SimilarReuse, owner_of, text_of
from callwise.calls.call import Call, Purpose, Role
from callwise.calls.errors import CallError, UnknownRole

__all__ = ["EmbedLayer"]


class EmbedLayer:
    """Asks the role `embed` for the vector of each call whose purpose compares vectors."""

    def __init__(
        self,
        reuse: SimilarReuse,
        *,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._reuse = reuse
        self._next = next
        self._counts: Counter[str] = Counter()

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return the answer of the layer below; the call has its vector then."""
        knobs = self._reuse.knobs_of(carried.call)
        if knobs is None or knobs.vectors != "embed" or owner_of(carried.scope) is None:
            return self._next(carried)
        return self._with_vector(carried)

    async def _with_vector(self, carried: InFlightCall) -> ReadReply:
        asked = carried.call
        vector = Call(
            Role.EMBED,
            Purpose.EMBED,
            inputs=(text_of(asked),),
            speculative=asked.speculative,
            priority=asked.priority,
            note="to compare a call with similar ones",
        )
        before = InFlightCall(vector, carried.scope, carried.track)
        try:
            answer = await self._next(before)
        except UnknownRole as error:
            raise UnknownRole(
                f"cache.similar.{asked.purpose}.vectors=embed compares vectors of a model, and no "
                "endpoint serves the role embed. Set CALLWISE_EMBED_MODEL or endpoints.embed, or "
                "compare words: vectors=lexical"
            ) from error
        except CallError as error:
            if error.is_fatal:
                raise
            self._counts["failed"] += 1  # the call is asked, and is similar to none
        else:
            self._counts["embedded"] += 1
            carried.vector = answer.reply.vectors[0] if answer.reply.vectors else ()
        carried.position = carried.track.position
        carried.before_seconds += before.path_seconds
        return await self._next(carried)

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls got a vector, and how many got none."""
        return {name: self._counts[name] for name in ("embedded", "failed")}
