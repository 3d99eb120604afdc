"""Pairs through the budgeter's own layers `embed` and `similar`, which serve after a proof."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.polarity.pairs import Pair
from callwise.budget import Budgeter, VirtualClock
from callwise.budget.layers import similar as layer
from callwise.budget.similar import SimilarReuse
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Role
from callwise.calls.reply import Reply
from callwise.testing.fakes import ScriptedClient

__all__ = ["Served", "served", "without_gate"]

Vectors = Mapping[str, Sequence[float]]

PROOF_PAIRS = 299
"""Pairs without a miss after which the layer serves."""


class Served(NamedTuple):
    """What became of the second message of a pair.

    Args:
        similarity: of the pair as the layer compared it; 0 where it was asked.
    """

    is_served: bool
    similarity: float


async def served(
    pairs: Sequence[Pair], threshold: float, vectors: Vectors | None = None
) -> Sequence[Served]:
    """Ask both messages of each pair, as a user who has asked nothing else, and return the second's.

    The budgeter is in the mode `serve`, and has proved its reuse on other pairs first: so what the
    layer would serve to a user is served, and is in the ledger.

    Args:
        threshold: least similarity.
        vectors: of each message; None compares words.
    """

    def answer(call: Call) -> Reply | str:
        if call.is_embedding:
            return Reply("", vectors=[(vectors or {}).get(text, _PROOF_VECTOR) for text in call.inputs])
        text = call.messages[-1].content
        return "yes" if text.endswith(_PROOF) else text

    knobs = {
        "mode": "serve",
        "threshold": threshold,
        "vectors": "lexical" if vectors is None else "embed",
        "sample_share": 1e-9,
    }
    endpoint = Endpoint("scripted", "scripted", ScriptedClient(answer))
    budgeter = Budgeter(
        dict.fromkeys(Role, endpoint),
        similar=SimilarReuse({Purpose.REASON: knobs}),
        clock=VirtualClock(),
    )
    for number in range(PROOF_PAIRS):
        await _ask(budgeter, "proof", f"Is the way to town number {number} {_PROOF}")
        await _ask(budgeter, "proof", f"is the way to town number {number} {_PROOF}")
    found = []
    for number, pair in enumerate(pairs):
        await _ask(budgeter, str(number), pair.first)
        found.append(await _ask(budgeter, str(number), pair.second))
    await budgeter.aclose()
    return found


_PROOF = "as short as the other one"
_PROOF_VECTOR = (1.0, 0.0)


async def _ask(budgeter: Budgeter, user: str, text: str) -> Served:
    call = Call(Role.MAIN, Purpose.REASON, (Message("user", text),), share=True)
    with budgeter.scope("conversation", user, user=user):
        reply = await budgeter.ask(call)
    row = budgeter.ledger.rows[-1]
    is_served = row.outcome is Outcome.CACHED and bool(row.delivery.similar)
    if is_served and reply.text == text:
        raise AssertionError(f"{text!r} was given its own answer")
    return Served(is_served, row.delivery.similarity)


@contextmanager
def without_gate() -> Iterator[None]:
    """Let the layer compare vectors alone, as caches without a gate do; for measurements only."""
    with_gate = layer.compared

    def compared(carried, owner):  # type: ignore[no-untyped-def] # as the layer calls it
        found = with_gate(carried, owner)
        return found._replace(place=found.place[:-1])

    layer.compared = compared
    try:
        yield
    finally:
        layer.compared = with_gate
