"""A text's vector, asked for as a counted call; without one, memory goes by words alone."""

from nodes.degrade import degradation_of
from nodes.prompt import clip
from nodes.records import Degradation
from turnwise.calls import Asker, Call, CallError, Purpose, Role
from turnwise.memory import Embedding

__all__ = ["MAX_EMBEDDED_CHARS", "embed_text"]

MAX_EMBEDDED_CHARS = 4000
"""Longest text that is embedded, in characters; common models read little more."""


async def embed_text(
    asker: Asker, text: str, *, node: str
) -> tuple[Embedding | None, Degradation | None]:
    """Return a text's vector, or why there is none.

    Args:
        asker: who reaches the embedding model.
        text: what to embed; a blank one needs no call and has no vector.
        node: the asking node.

    Raises:
        CallError: a fatal one.
    """
    if not text.strip():
        return None, None
    call = Call(Role.EMBED, Purpose.EMBED, inputs=(clip(text, MAX_EMBEDDED_CHARS),))
    try:
        reply = await asker.ask(call)
    except CallError as error:
        return None, degradation_of(error, node=node)
    if not reply.vectors:
        detail = "the embedding endpoint answered without a vector"
        return None, Degradation(node=node, reason="invalid", detail=detail)
    return Embedding(model=reply.model or "unnamed", vector=reply.vectors[0]), None
