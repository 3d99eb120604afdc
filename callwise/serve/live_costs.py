"""Live costs of awake agents: of each message, each request and each wake, from ledger rows."""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.usage import PICODOLLARS
from callwise.wake.wake_report import WakeReport

__all__ = ["Cost", "LiveCosts"]

KEPT_MESSAGES = 20_000
"""Newest messages whose costs are kept."""

KEPT_REQUESTS = 40
"""Newest requests that are shown."""

KEPT_WAKES = 12
"""Newest wakes and answered messages that are shown."""

SHOWN_FAILURES = 5
"""Agents of a wake whose failures are shown."""

_AGENT = "agent:"


@dataclass(slots=True)
class Cost:
    """The usage of calls that belong together, whole numbers that add up.

    Args:
        model: the model that answered the last of them.
        batch_size: calls in the request that carried the last of them; 0 where it was alone.
    """

    model: str = ""
    calls: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    picodollars: int = 0
    unknown_usd: int = 0
    batch_size: int = 0
    microseconds: int = 0
    failed: int = 0
    is_simulated: bool = False

    def add(self, row: LedgerRow) -> None:
        """Add a call that has ended."""
        usage = row.usage
        self.model, self.is_simulated = row.model, row.is_simulated
        self.batch_size = row.delivery.batch_size
        self.calls += 1
        self.requests += usage.requests
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.picodollars += usage.picodollars
        self.unknown_usd += usage.unknown_usd
        self.microseconds = max(self.microseconds, usage.work_microseconds)
        self.failed += row.error is not None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `usd` is null where that of one request is unknown."""
        return {
            "model": self.model,
            "calls": self.calls,
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usd": None if self.unknown_usd else self.picodollars / PICODOLLARS,
            "batch_size": self.batch_size,
            "seconds": self.microseconds / 1e6,
            "failed": self.failed,
            "simulated": self.is_simulated,
        }


@dataclass(slots=True)
class _Request:
    number: int
    turn: str
    node: str
    cost: Cost = field(default_factory=Cost)


class LiveCosts:
    """Costs of the messages of one room, and its newest requests and wakes.

    Args:
        room: name of the room; part of the ids of its messages.
    """

    def __init__(self, room: str) -> None:
        self._room = room
        self._messages: OrderedDict[str, Cost] = OrderedDict()
        self._requests: deque[_Request] = deque(maxlen=KEPT_REQUESTS)
        self._numbered = 0
        self._wakes: deque[dict[str, Any]] = deque(maxlen=KEPT_WAKES)

    def on_row(self, row: LedgerRow) -> None:
        """Count a call that has ended."""
        message_id = self._message_id(row)
        if message_id is not None:
            cost = self._messages.setdefault(message_id, Cost())
            cost.add(row)
            if len(self._messages) > KEPT_MESSAGES:
                self._messages.popitem(last=False)
        self._request_of(row).cost.add(row)

    def on_wake(self, report: WakeReport) -> None:
        """Keep the report of a wake."""
        failed = [each for each in report.replies if each.outcome == "failed"]
        self._wakes.append(
            {
                "at": report.at,
                "is_message": report.is_message,
                "intent": report.intent,
                "woken": len(report.woken),
                "outcomes": dict(Counter(each.outcome for each in report.replies)),
                "dropped": sum(report.dropped.values()),
                "calls": report.calls,
                "requests": report.requests,
                "tokens": report.tokens,
                "usd": report.usd,
                "failures": [
                    {"agent": each.agent, "reason": each.reason} for each in failed[:SHOWN_FAILURES]
                ],
            }
        )

    def cost_of(self, message_id: str) -> Mapping[str, Any] | None:
        """Return what an agent's message cost; None where this process has not asked for it."""
        cost = self._messages.get(message_id)
        return None if cost is None else cost.to_json()

    def to_json(self) -> dict[str, Any]:
        """Return the newest requests and wakes, the newest last."""
        return {
            "requests": [
                {"number": each.number, "for": each.node, "turn": each.turn, **each.cost.to_json()}
                for each in self._requests
            ],
            "wakes": list(self._wakes),
        }

    def _message_id(self, row: LedgerRow) -> str | None:
        """Return the id of the message that a call is for, as the wake service makes it."""
        node, turn = row.node or "", row.turn or ""
        if not node.startswith(_AGENT):
            return None
        agent = node.removeprefix(_AGENT)
        for begins, mark in ((f"wake:{self._room}:", ""), (f"say:{self._room}:", "@")):
            if turn.startswith(begins):
                return f"{self._room}:{mark}{turn.removeprefix(begins)}:{agent}"
        return None

    def _request_of(self, row: LedgerRow) -> _Request:
        """Return the request that carried a call: that of its batch, or a new one."""
        turn, batch = row.turn or "", row.delivery.batch
        if batch:
            for each in reversed(self._requests):
                if each.turn == turn and each.node == batch:
                    return each
        self._numbered += 1
        self._requests.append(_Request(self._numbered, turn, batch or row.node or ""))
        return self._requests[-1]
