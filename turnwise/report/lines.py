"""The lines of a run's files, as far as a report reads them.

Fields that a report does not need are passed over, so an app may write more.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from turnwise.budget.usage import Usage
from turnwise.calls.call import Outcome, Purpose, Role

__all__ = ["CallLine", "Spans", "TurnKey", "TurnLine"]

TurnKey = tuple[str, int]
"""Conversation id and turn number."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Line(BaseModel):
    """Base of the lines: frozen, and open to fields of others."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CallLine(Line):
    """One line of `ledger.jsonl`: how one asked call ended, and what it spent."""

    conversation: str | None = None
    turn: Count | None = None
    """A number, also where the ledger has it as the name of a scope."""
    node: str | None = None
    role: Role
    purpose: Purpose
    outcome: Outcome
    repair: Count = 0
    is_unreadable: bool = False
    """Answered, and not in the form that was asked for; False in runs that did not count it."""
    is_speculative: bool = False
    attempts: Count = 0
    requests: Count = 0
    sent: Count | None = None
    """Requests that left for it when this run was made; None in runs that did not count it."""
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_tokens: Count = 0
    unknown_usage: Count = 0
    """Requests whose tokens are not known."""
    over_tokens: Count = 0
    """Tokens billed beyond what was reserved for the call."""
    over_usd: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """USD billed beyond it."""
    error: str = ""
    """What went wrong; empty where nothing did."""
    notes: str = ""
    """What had to be mended or left out to read the answer; empty where nothing had to be."""
    usd: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Cost; None when it is not known, which is not 0."""
    work_seconds: Seconds = 0.0
    retry_seconds: Seconds = 0.0

    @field_validator("error", "notes", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> str:
        return value if isinstance(value, str) else ""

    @property
    def usage(self) -> Usage:
        """What it spent."""
        usage = Usage.from_json(self.__dict__)
        if self.sent is None:  # not counted then
            usage = usage._replace(sent=0 if self.outcome is Outcome.REPLAYED else self.requests)
        return usage

    @property
    def is_refused(self) -> bool:
        """Whether a limit refused it, so that nothing was sent."""
        return self.outcome is Outcome.REFUSED

    @property
    def turn_key(self) -> TurnKey | None:
        """Which turn asked, or None outside of one."""
        if self.conversation is None or self.turn is None:
            return None
        return self.conversation, self.turn


class Spans(Line):
    """Rounds or seconds of a turn: until the reply, and until its end."""

    reply: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    turn: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0


class TurnLine(Line):
    """One line of `turns.jsonl`: one finished turn."""

    conversation_id: str
    turn: Count
    reply: str = ""
    asked: Count | None = None
    """Calls that the turn says it asked; None when it does not say."""
    rounds: Spans | None = None
    path_seconds: Spans | None = None
    degraded: tuple[Mapping[str, Any], ...] = ()
    """The nodes that went on without their call, and why."""
    wound_down: tuple[Mapping[str, Any], ...] = ()
    """What the turn gave up for want of calls, and why."""
    search: Mapping[str, Any] = {}
    """What the app's search did."""
    simulated: bool = False
    prompts: Mapping[str, tuple[str, ...]] = {}
    """Digests of the prompts that were asked, by node, of an app that has no prompt files."""

    @property
    def key(self) -> TurnKey:
        """Which turn it is."""
        return self.conversation_id, self.turn

    @property
    def degraded_causes(self) -> tuple[str, ...]:
        """Why it is degraded, a few words each, none twice: what is down first. Untrusted."""
        down: list[str] = []
        others: list[str] = []
        for row in self.degraded:
            role, endpoint = row.get("role"), row.get("endpoint")
            if role and endpoint:
                down.append(f"{role} at {endpoint} is down")
            else:
                others.append(f"{row.get('node') or '-'} {row.get('reason') or ''}".rstrip())
        return tuple(dict.fromkeys(down + others))

    @property
    def spans(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Rounds to the reply and to the end, then seconds; None where it does not say."""
        rounds, path = self.rounds, self.path_seconds
        return (
            None if rounds is None else rounds.reply,
            None if rounds is None else rounds.turn,
            None if path is None else path.reply,
            None if path is None else path.turn,
        )

    @property
    def search_stop(self) -> str:
        """Why the search stopped; empty when the turn does not say."""
        return str(self.search.get("stop_reason") or self.search.get("stopped") or "")
