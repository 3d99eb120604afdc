"""The closed sets that name a call: who answers it, what for, and how it ended."""

from enum import StrEnum

__all__ = ["Outcome", "Purpose", "Role"]


class Role(StrEnum):
    """Which model serves a call."""

    MAIN = "main"
    JUDGE = "judge"
    FAST = "fast"
    EMBED = "embed"


class Purpose(StrEnum):
    """What a call is for. Shown in every ledger, plan and plot."""

    DETECT = "detect"
    MONOLOGUE = "monologue"
    REASON = "reason"
    PLAN = "plan"
    EXPAND = "expand"
    JUDGE = "judge"
    CHECK = "check"
    HUMANIZE = "humanize"
    EVOLVE = "evolve"
    REMEMBER = "remember"
    INTENT = "intent"
    FUSE = "fuse"
    EMBED = "embed"
    OTHER = "other"
    """A call of an application that is not ours and did not say what it is for."""


class Outcome(StrEnum):
    """How an asked call ended. Each asked call ends in exactly one of these."""

    SERVED = "served"
    CACHED = "cached"
    COALESCED = "coalesced"
    REPLAYED = "replayed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
