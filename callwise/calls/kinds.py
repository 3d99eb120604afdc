"""Kinds of work, and what calls of each purpose have where nothing else is set.

A call's purpose decides its kind of work, and its kind how long an answer may take and how long
it is kept. Within a turn the answer goes ahead of what verifies it, then comes what explores,
then the bookkeeping after the reply.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from callwise.calls.call import Call, Priority, Purpose

__all__ = ["KINDS", "PRIORITIES", "KindDefaults", "WorkKind", "kind_of", "priority_of"]


class WorkKind(StrEnum):
    """Kind of work."""

    LLM_INFERENCE = "llm_inference"
    EMBEDDING = "embedding"
    VECTOR_SEARCH = "vector_search"
    SUMMARIZATION = "summarization"
    RERANKING = "reranking"


class KindDefaults(NamedTuple):
    """Defaults of the calls of one kind.

    Args:
        cache_ttl_seconds: time for which an answer is kept for equal calls.
        is_complex: whether an answer may take as long as a complex task.
    """

    cache_ttl_seconds: float
    is_complex: bool


KINDS: Mapping[WorkKind, KindDefaults] = {
    WorkKind.LLM_INFERENCE: KindDefaults(3_600.0, is_complex=True),
    WorkKind.EMBEDDING: KindDefaults(86_400.0, is_complex=False),
    WorkKind.VECTOR_SEARCH: KindDefaults(300.0, is_complex=False),
    WorkKind.SUMMARIZATION: KindDefaults(3_600.0, is_complex=True),
    WorkKind.RERANKING: KindDefaults(300.0, is_complex=False),
}

_KIND_OF: Mapping[Purpose, WorkKind] = {
    Purpose.EMBED: WorkKind.EMBEDDING,
    Purpose.RETRIEVE: WorkKind.VECTOR_SEARCH,
    Purpose.SUMMARIZE: WorkKind.SUMMARIZATION,
    Purpose.RERANK: WorkKind.RERANKING,
}

PRIORITIES: Mapping[Purpose, Priority] = {
    Purpose.DETECT: Priority.CRITICAL,
    Purpose.MONOLOGUE: Priority.CRITICAL,
    Purpose.REASON: Priority.CRITICAL,
    Purpose.PLAN: Priority.CRITICAL,
    Purpose.HUMANIZE: Priority.CRITICAL,
    Purpose.INTENT: Priority.CRITICAL,
    Purpose.FUSE: Priority.CRITICAL,
    Purpose.JUDGE: Priority.HIGH,
    Purpose.CHECK: Priority.HIGH,
    Purpose.EXPAND: Priority.NORMAL,
    Purpose.EMBED: Priority.HIGH,
    Purpose.RETRIEVE: Priority.HIGH,
    Purpose.RERANK: Priority.HIGH,
    Purpose.EVOLVE: Priority.LOW,
    Purpose.REMEMBER: Priority.LOW,
    Purpose.SUMMARIZE: Priority.LOW,
    Purpose.REFEREE: Priority.BACKGROUND,
    Purpose.OTHER: Priority.NORMAL,
}
"""Class of urgency by purpose, for calls that have none themselves."""


def kind_of(purpose: Purpose) -> WorkKind:
    """Return the kind of work of a purpose."""
    return _KIND_OF.get(purpose, WorkKind.LLM_INFERENCE)


def priority_of(call: Call) -> Priority:
    """Return the class of urgency of a call: the one that it has, or that of its purpose."""
    return PRIORITIES[call.purpose] if call.priority is None else call.priority
