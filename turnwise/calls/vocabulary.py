"""The closed sets that name a call: who answers it, what for, and how it ended."""

from enum import StrEnum

__all__ = ["Outcome", "Purpose", "Role"]


class _Word(StrEnum):
    """A word that is hashed as the string it is: it keys every count of the hot path."""

    __hash__ = str.__hash__


class Role(_Word):
    """Which model serves a call."""

    MAIN = "main"
    JUDGE = "judge"
    FAST = "fast"
    EMBED = "embed"


class Purpose(_Word):
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
    REFEREE = "referee"
    """Judging a reply from outside, after the fact. Never part of a turn."""
    OTHER = "other"
    """A call of an application that is not ours and did not say what it is for."""


class Outcome(_Word):
    """How an asked call ended. Each asked call ends in exactly one of these."""

    SERVED = "served"
    CACHED = "cached"
    COALESCED = "coalesced"
    REPLAYED = "replayed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
