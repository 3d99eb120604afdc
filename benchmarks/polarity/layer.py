"""Pairs through the budgeter's own layers `embed` and `similar`, which serve after a proof."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.polarity.pairs import Pair
from callwise.budget import Budgeter, VirtualClock
from callwise.budget.in_flight import InFlightCall
from callwise.budget.layers import similar as layer
from callwise.budget.similar import SimilarReuse
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Reply, Role
from callwise.testing.fakes import ScriptedClient

__all__ = ["Asked", "served", "text_asking", "without_gate"]

Vectors = Mapping[str, Sequence[float]]

PROOF_PAIRS = 299
"""Pairs without a miss after which the layer serves."""

_PROOF = "as short as the other one"
_PROOF_VECTOR = (1.0, 0.0)


class Asked(NamedTuple):
    """Outcome of a call.

    Args:
        is_served: whether it was given the answer to a similar call.
        similarity: of the two; 0 where it was asked.
    """

    is_served: bool
    similarity: float


Ask = Callable[[str, str], Awaitable[Asked]]


async def text_asking(
    mode: str | None, threshold: float = 0.95, vectors: Vectors | None = None
) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    """Return what asks a text of a user through a budgeter, and what closes it.

    In the mode `serve` the budgeter has proved its reuse on other pairs: so what the layer would
    serve to a user is served, and is in the ledger. Every answer is the text that was asked.

    Args:
        mode: of the reuse; None for a budgeter without it.
        threshold: least similarity.
        vectors: by text; None compares words.
    """

    def answer(call: Call) -> Reply | str:
        if call.is_embedding:
            found = [tuple((vectors or {}).get(text, _PROOF_VECTOR)) for text in call.inputs]
            return Reply("", vectors=tuple(found))
        text = call.messages[-1].content
        return "yes" if text.endswith(_PROOF) else text

    knobs = {
        "mode": mode,
        "threshold": threshold,
        "vectors": "lexical" if vectors is None else "embed",
        "sample_share": 1e-9,
    }
    endpoint = Endpoint("scripted", "scripted", ScriptedClient(answer))
    budgeter = Budgeter(
        dict.fromkeys(Role, endpoint),
        similar=None if mode is None else SimilarReuse({Purpose.REASON: knobs}),
        clock=VirtualClock(),
    )

    async def ask(user: str, text: str) -> Asked:
        call = Call(Role.MAIN, Purpose.REASON, (Message("user", text),), share=True)
        with budgeter.scope("conversation", user, user=user):
            reply = await budgeter.ask(call)
        row = budgeter.ledger.rows[-1]
        is_served = row.outcome is Outcome.CACHED and bool(row.delivery.similar)
        if is_served and reply.text == text:
            raise RuntimeError(f"{text!r} was given its own answer")
        return Asked(is_served, row.delivery.similarity)

    if mode == "serve":
        for number in range(PROOF_PAIRS):
            await ask("proof", f"Is the way to town number {number} {_PROOF}")
            await ask("proof", f"is the way to town number {number} {_PROOF}")
    return ask, budgeter.aclose


async def served(
    pairs: Sequence[Pair], threshold: float, vectors: Vectors | None = None
) -> Sequence[Asked]:
    """Ask both messages of each pair, as a user who has asked nothing else; return the second's."""
    ask, close = await text_asking("serve", threshold, vectors)
    found = []
    for number, pair in enumerate(pairs):
        await ask(str(number), pair.first)
        found.append(await ask(str(number), pair.second))
    await close()
    return found


@contextmanager
def without_gate() -> Iterator[None]:
    """Let the layer compare vectors alone, as caches without a gate do; for measurements only."""
    with_gate = layer.compared

    def compared(carried: InFlightCall, owner: tuple[str, ...]) -> Any:
        found = with_gate(carried, owner)
        return found._replace(place=found.place[:-1])

    layer.compared = compared
    try:
        yield
    finally:
        layer.compared = with_gate
