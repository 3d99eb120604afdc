"""Live costs of awake agents: of each message, each request and each wake, from ledger rows.

The calls of a reply are a tree: its wake (or the person's message), the nodes that opened within
it, and the calls of each. Those of the wake itself, such as the intent, are in the trees of all its
replies; what they cost is not in the sums of the replies.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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

KEPT_CALLS = 48
"""Calls of a message, and of a wake itself, that its tree has; further ones are counted."""

KEPT_TURNS = 64
"""Newest wakes and answered messages whose own calls are kept."""

LATE_COSTS = 16
"""Newest messages whose costs have changed after they were shown."""

_AGENT = "agent:"
_NODE = "node:"


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


class _Calls:
    """Calls of one message, or of a wake itself, as JSON values; of many, the first."""

    def __init__(self) -> None:
        self.first: list[dict[str, Any]] = []
        self.left_out = 0

    def add(self, row: LedgerRow, nodes: Sequence[str], request: int) -> None:
        """Add a call that has ended."""
        if len(self.first) == KEPT_CALLS:
            self.left_out += 1
            return
        usage = row.usage
        self.first.append(
            {
                "nodes": nodes,
                "role": row.role,
                "model": row.model,
                "outcome": row.outcome,
                "request": request,
                "batch_size": row.delivery.batch_size,
                "requests": usage.requests,
                "tokens": usage.input_tokens + usage.output_tokens,
                "usd": row.usd,
                "seconds": usage.work_microseconds / 1e6,
                "error": row.error_name,
            }
        )


@dataclass(slots=True)
class _Message:
    turn: str
    cost: Cost = field(default_factory=Cost)
    calls: _Calls = field(default_factory=_Calls)
    is_shown: bool = False


class LiveCosts:
    """Costs of the messages of one room, and its newest requests and wakes.

    Args:
        room: name of the room; part of the ids of its messages.
    """

    def __init__(self, room: str) -> None:
        self._room = room
        self._messages: OrderedDict[str, _Message] = OrderedDict()
        self._turns: OrderedDict[str, _Calls] = OrderedDict()
        self._late: deque[str] = deque(maxlen=LATE_COSTS)
        self._requests: deque[_Request] = deque(maxlen=KEPT_REQUESTS)
        self._numbered = 0
        self._wakes: deque[dict[str, Any]] = deque(maxlen=KEPT_WAKES)

    def on_row(self, row: LedgerRow) -> None:
        """Count a call that has ended."""
        turn, nodes = row.turn or "", _nodes_of(row)
        agent = next((each for each in nodes if each.startswith(_AGENT)), None)
        request = self._request_of(row, agent or row.node or "")
        request.cost.add(row)
        message_id = None if agent is None else self._message_id(turn, agent)
        if message_id is None:
            calls = _kept(self._turns, turn, _Calls, KEPT_TURNS)
            calls.add(row, nodes, request.number)
            return
        message = _kept(self._messages, message_id, lambda: _Message(turn), KEPT_MESSAGES)
        message.cost.add(row)
        message.calls.add(row, nodes, request.number)
        if message.is_shown and message_id not in self._late:
            self._late.append(message_id)

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
        """Return cost and calls of an agent's message; None where this process has asked none."""
        message = self._messages.get(message_id)
        if message is None:
            return None
        message.is_shown = True
        above = self._turns.get(message.turn, _NO_CALLS)
        return {
            **message.cost.to_json(),
            "turn": message.turn.partition(":")[0],
            "calls_of_turn": above.first,
            "calls_of_reply": message.calls.first,
            "calls_left_out": above.left_out + message.calls.left_out,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the newest requests and wakes, the newest last, and costs that have changed."""
        return {
            "requests": [
                {"number": each.number, "for": each.node, "turn": each.turn, **each.cost.to_json()}
                for each in self._requests
            ],
            "wakes": list(self._wakes),
            "late_costs": {each: self.cost_of(each) for each in self._late},
        }

    def _message_id(self, turn: str, node: str) -> str | None:
        """Return the id of the message that a node is for, as the wake service makes it."""
        agent = node.removeprefix(_AGENT)
        for begins, mark in ((f"wake:{self._room}:", ""), (f"say:{self._room}:", "@")):
            if turn.startswith(begins):
                return f"{self._room}:{mark}{turn.removeprefix(begins)}:{agent}"
        return None

    def _request_of(self, row: LedgerRow, node: str) -> _Request:
        """Return the request that carried a call: that of its batch, or a new one."""
        turn, batch = row.turn or "", row.delivery.batch
        if batch:
            for each in reversed(self._requests):
                if each.turn == turn and each.node == batch:
                    return each
        self._numbered += 1
        self._requests.append(_Request(self._numbered, turn, batch or node))
        return self._requests[-1]


_Kept = TypeVar("_Kept")
_NO_CALLS = _Calls()


def _kept(found: OrderedDict[str, _Kept], key: str, make: Callable[[], _Kept], most: int) -> _Kept:
    """Return the value of a key, made where it is missing; drop the oldest beyond `most`."""
    if key not in found:
        found[key] = make()
        if len(found) > most:
            found.popitem(last=False)
    return found[key]


def _nodes_of(row: LedgerRow) -> list[str]:
    """Return the nodes that a call was asked in, the outermost first."""
    below = row.scope.partition(f":{row.turn}/" if row.turn else "/")[2]
    names = [each.removeprefix(_NODE) for each in below.split("/") if each.startswith(_NODE)]
    return names or [row.node or ""]
