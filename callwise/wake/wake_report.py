"""Reports of wakes: which agents woke, what each did, and what it cost."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from callwise.budget.counters import CounterValues
from callwise.calls.errors import CallwiseError
from callwise.memory.memory_errors import StoreDamaged, StoreFailed, StoreFull, StoreLocked
from callwise.safe_text import clipped, printable
from callwise.wake.intent import WakeChoice

__all__ = ["AgentReply", "ReplyOutcome", "WakeReport", "lost_hours_problem", "one_line"]

_LOGGER = logging.getLogger(__name__)

MAX_REASON_CHARS = 300
"""Longest reason in a report, in characters."""

_STORE_ERRORS = tuple(
    f"{each.__name__}: " for each in (StoreDamaged, StoreFailed, StoreFull, StoreLocked)
)
"""Beginnings of reasons that `one_line` makes of errors of the store."""

ReplyOutcome = Literal["published", "published before", "silent", "no credits", "failed"]


@dataclass(frozen=True, slots=True)
class AgentReply:
    """The end of one agent's part in a wake.

    Args:
        text: the message; empty without one. Untrusted.
        reason: why it has no message, or else why it was woken; one line. Untrusted.
        recall_problem: why words alone rank its notes, or its new note: an embedding failed. Or
            why it has no notes, or its new one waits: a memory that was brought failed. One line;
            empty where none did. Untrusted.
        facts: facts of its message and the chat that were added to its notes. Untrusted.
        memory_problem: why no facts, or not all of an answer, are among its notes; one line,
            empty where nothing failed. Untrusted.
    """

    agent: str
    outcome: ReplyOutcome
    text: str
    message_id: str
    reason: str
    recall_problem: str = ""
    facts: tuple[str, ...] = ()
    memory_problem: str = ""


@dataclass(frozen=True, slots=True)
class WakeReport:
    """The course of one wake.

    Args:
        at: its time in UTC epoch seconds.
        is_message: whether a person's message was its cause, and not an hour.
        intent: `answered`, `not asked`, or `fallback: ` and why.
        woken: ids of the agents, in the order of the list.
        dropped: entries of the intent's list that were not taken, counted by why.
        replies: one for each of `woken`, in their order.
        calls: calls asked; those of intent, embeddings, facts and repairs included.
        requests: requests that were sent for them.
        tokens: known tokens of all of them.
        usd: price of all of them; None where that of one is unknown.
    """

    at: float
    intent: str
    woken: tuple[str, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    replies: tuple[AgentReply, ...] = ()
    calls: int = 0
    requests: int = 0
    tokens: int = 0
    usd: float | None = None
    is_message: bool = False

    @classmethod
    def of(
        cls,
        at: float,
        choice: WakeChoice,
        replies: tuple[AgentReply, ...],
        counts: CounterValues,
        *,
        is_message: bool,
    ) -> "WakeReport":
        """Return the report of a wake whose calls have ended, by the counts of its scope."""
        usage = counts.usage
        return cls(
            at,
            choice.intent,
            choice.agents,
            choice.dropped,
            replies,
            calls=counts.asked,
            requests=usage.requests,
            tokens=usage.tokens,
            usd=None if usage.unknown_usd else usage.usd,
            is_message=is_message,
        )


def lost_hours_problem(reports: Sequence[WakeReport], woken: int) -> str | None:
    """Return why no hour of a run has succeeded, where none has: each failed, or the store did.

    Args:
        reports: those of the run; hours that failed have none.
        woken: number of hours.
    """
    replies = [each.replies for each in reports if not each.is_message]
    reasons = [reply.reason for each in replies for reply in each if reply.outcome == "failed"]
    has_succeeded = any(
        not each or not all(reply.reason.startswith(_STORE_ERRORS) for reply in each)
        for each in replies
    )
    if not woken or has_succeeded:
        return None
    reason = reasons[0] if reasons else "the log has the reason of each"
    return f"none of {woken} hours has succeeded: {reason}"


def one_line(error: Exception, whose: str) -> str:
    """Return an error in one line; one that is no error of ours is logged whole."""
    if not isinstance(error, CallwiseError):
        _LOGGER.error("%s failed: %s", whose, type(error).__name__, exc_info=error)
    line = " ".join(f"{type(error).__name__}: {clipped(str(error), MAX_REASON_CHARS)}".split())
    return printable(line)
