"""Layer `similar`: a call of a purpose that opted in may get the answer to a similar call.

Two calls are similar when all of them is equal but the prompt's words, those agree in content
(`budget/similar/content.py`), and their vectors are as alike as the settings want. Agent and user
are part of what is equal, so nothing crosses them; a call whose scopes name neither user nor
conversation takes no part. Only answers that were served are used again, never one that was
itself used again, and each for its time. On a virtual clock nothing ends: no time passes there.

A similar call is asked all the same until it is proved that few of the answers would have been
wrong (`budget/similar/proof.py`), and a sample of them afterwards. An answer that is used again
is a fact of the exchange: its `Delivery` has the key of the answered call and the similarity.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple

from callwise.budget.cache_eviction import Lru2Map
from callwise.budget.clock import Clock
from callwise.budget.in_flight import InFlightCall, ReadReply, read_reply
from callwise.budget.similar.content import Content, lexical_similarity
from callwise.budget.similar.knobs import SimilarKnobs
from callwise.budget.similar.reuse import Compared, SimilarReuse, compared, owner_of
from callwise.calls.answer_text import was_cut
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.client import Endpoint
from callwise.calls.delivery import Delivery
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply

__all__ = ["SimilarLayer"]


class _Entry(NamedTuple):
    """An answer, and the call that it was given to."""

    key: CallKey
    reply: Reply
    weights: Mapping[str, float]
    vector: Sequence[float]
    kept_at_seconds: float


class _Hit(NamedTuple):
    """An entry that a call is similar to, and its answer, read as that call's form."""

    entry: _Entry
    similarity: float
    answer: ReadReply


class SimilarLayer:
    """Answers from similar calls, and judges the answers that it would have used.

    Args:
        endpoints: by role; the model of `embed` is part of what a proof is of.
        is_under_way: returns whether equal work is under way, which `share` joins.
    """

    def __init__(
        self,
        reuse: SimilarReuse,
        endpoints: Mapping[str, Endpoint],
        is_under_way: Callable[[CallKey], bool],
        clock: Clock,
        *,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._reuse = reuse
        self._endpoints = endpoints
        self._is_under_way = is_under_way
        self._clock = clock
        self._next = next
        self._entries: dict[Purpose, Lru2Map[tuple[object, ...], _Entry]] = {}
        self._would_be: Counter[str] = Counter()
        self._served: Counter[str] = Counter()
        self._without_owner = 0

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return the answer to a similar call, or that of the layer below."""
        knobs = self._reuse.knobs_of(carried.call)
        if knobs is None:
            return self._next(carried)
        owner = owner_of(carried.scope)
        if owner is None:
            self._without_owner += 1
            return self._next(carried)
        return self._similar(carried, knobs, owner)

    async def _similar(
        self, carried: InFlightCall, knobs: SimilarKnobs, owner: tuple[str, ...]
    ) -> ReadReply:
        call, reuse = carried.call, self._reuse
        reuse.count(call)
        if self._is_under_way(carried.key):
            return await self._next(carried)
        what = compared(carried, owner)
        hit = self._hit(carried, knobs, what)
        if hit is None:
            answer = await self._next(carried)
        else:
            self._would_be[call.purpose] += 1
            embed_model = self._embed_model(knobs)
            proof = reuse.proof_of(carried, knobs, embed_model)
            if reuse.is_serving(carried, knobs, proof):
                self._served[call.purpose] += 1
                carried.delivery = Delivery(
                    similar=hit.entry.key, similarity=round(hit.similarity, 6)
                )
                carried.finish(Outcome.CACHED)
                return hit.answer
            answer = await self._next(carried)
            if carried.outcome is Outcome.SERVED and answer.invalid is None:
                reuse.judge(
                    carried,
                    knobs,
                    proof,
                    embed_model=embed_model,
                    answered_by=hit.entry.key,
                    similarity=hit.similarity,
                    reused=hit.answer.reply,
                    answer=answer.reply,
                )
        if carried.outcome is Outcome.SERVED:
            self._keep(carried, knobs, what, answer)
        return answer

    def statistics(self) -> Mapping[str, int | float]:
        """Return calls with a similar one before them, and what became of those.

        `would_be` of them had one; `judged` pairs are in the proofs, of which `false` were wrong,
        and `waiting` wait for a judge; `served` were answered again. `bound` is the upper bound of
        the rate of wrong answers, 1 where nothing was judged. All of these also by purpose, as
        `bound_reason`, where calls were similar; of several models and settings the sum, and the
        largest bound. `without_owner` calls had neither user nor conversation.
        """
        counts: dict[str, int | float] = {
            **dict.fromkeys(("would_be", "judged", "false", "waiting", "served"), 0),
            "bound": 0.0,
            "without_owner": self._without_owner,
        }
        for purpose in self._reuse.purposes:
            proofs = self._reuse.proofs(purpose)
            if not proofs:
                continue
            own: dict[str, int | float] = {
                "would_be": self._would_be[purpose],
                "judged": sum(each.judged for each in proofs),
                "false": sum(each.wrong for each in proofs),
                "waiting": sum(each.waiting for each in proofs),
                "served": self._served[purpose],
            }
            counts.update({name: counts[name] + count for name, count in own.items()})
            own["bound"] = max(each.bound for each in proofs)
            counts["bound"] = max(counts["bound"], own["bound"])
            counts.update({f"{name}_{purpose}": count for name, count in own.items()})
        if not counts["bound"]:
            counts["bound"] = 1.0
        return counts

    def _hit(self, carried: InFlightCall, knobs: SimilarKnobs, what: Compared) -> _Hit | None:
        entries = self._entries.get(carried.call.purpose)
        entry = None if entries is None else entries.get(what.place)
        if entry is None or entry.key == carried.key:  # equal calls are the cache's
            return None
        ttl_seconds = inf if self._clock.is_virtual else knobs.ttl_seconds
        if not 0 <= self._clock.now() - entry.kept_at_seconds < ttl_seconds:
            return None
        if knobs.vectors == "embed":
            similarity = _cosine(carried.vector, entry.vector)
        else:
            similarity = lexical_similarity(Content((), what.weights), Content((), entry.weights))
        if similarity < knobs.threshold:
            return None
        answer = read_reply(carried.call, entry.reply)
        return _Hit(entry, similarity, answer) if answer.invalid is None else None

    def _keep(
        self, carried: InFlightCall, knobs: SimilarKnobs, what: Compared, answer: ReadReply
    ) -> None:
        """Keep a usable answer for similar calls; it takes the place of an older one."""
        if answer.invalid is not None or was_cut(answer.reply.finish_reason):
            return
        entries = self._entries.get(carried.call.purpose)
        if entries is None:
            entries = self._entries[carried.call.purpose] = Lru2Map(knobs.max_entries)
        reply = replace(answer.reply, parsed=None)
        entry = _Entry(carried.key, reply, what.weights, carried.vector, self._clock.now())
        entries.set(what.place, entry)

    def _embed_model(self, knobs: SimilarKnobs) -> str:
        endpoint = self._endpoints.get(Role.EMBED)
        return endpoint.model if endpoint is not None and knobs.vectors == "embed" else ""


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the cosine of two vectors; 0 where one is missing, of another length or of no use."""
    if not left or len(left) != len(right):
        return 0.0
    dot = math.fsum(one * other for one, other in zip(left, right, strict=True))
    squares = math.fsum(one * one for one in left) * math.fsum(other * other for other in right)
    cosine = dot / math.sqrt(squares) if squares > 0 else 0.0
    return min(cosine, 1.0) if math.isfinite(cosine) else 0.0
