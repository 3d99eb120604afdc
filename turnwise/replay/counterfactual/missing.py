"""A call that is not recorded, and the answer of another call that stands in for it.

A stand-in lets a turn be played to its end, so that one sees about how many calls it asks
and what they cost. It is an answer to another prompt: nothing after it is exact, and every
figure that it touches is shown as an estimate. The nearest answer of the same kind (node,
purpose, response schema) is taken: of the same turn if there is one, since it speaks of the
same message, else of the nearest turn of the conversation, else the oldest at all. Within a
turn stand-ins go round, so that a judge who is asked three times does not say one thing.
"""

from dataclasses import dataclass, replace

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls.call import Call
from turnwise.calls.vocabulary import Outcome, Purpose, Role
from turnwise.replay.cassette_exchange import prompt_of
from turnwise.replay.counterfactual.tape import Kind, Tape

__all__ = ["MissingCall", "StandIns"]


@dataclass(frozen=True, slots=True)
class MissingCall:
    """A call that a real run would have to buy, and what it would cost, about.

    Args:
        node: who asks.
        role: which model.
        purpose: what for.
        input_tokens: of the call that stands in for it.
        output_tokens: the same.
        usd: the same; None when that is not known.
    """

    node: str | None
    role: Role
    purpose: Purpose
    input_tokens: int
    output_tokens: int
    usd: float | None


class StandIns:
    """Finds answers of other calls.

    Args:
        tape: where from.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._found: dict[tuple[Kind, str | None, str | None], list[int]] = {}

    def find(self, call: Call, where: Where, used: dict[Kind, int]) -> RecordedExchange | None:
        """Return an exchange that stands in for a call; None when there is none of its kind.

        Args:
            call: what is asked.
            where: by whom.
            used: how many of each kind this turn has used; counted on.
        """
        schema = prompt_of(call).get("settings", {}).get("response_schema")
        kind: Kind = (where.node, where.purpose.value, schema)
        entries = self._nearest(kind, where.conversation, where.turn)
        if not entries:
            return None
        number = used.get(kind, 0)
        used[kind] = number + 1
        exchange = self._tape.exchange(entries[number % len(entries)])
        # What it would cost if it were sent: its failures and its luck are not copied.
        usage = exchange.usage._replace(requests=1, attempts=1)
        return replace(exchange, outcome=Outcome.SERVED, error=None, usage=usage)

    def _nearest(self, kind: Kind, conversation: str | None, turn: str | None) -> list[int]:
        request = (kind, conversation, turn)
        if request not in self._found:
            self._found[request] = self._search(kind, conversation, turn)
        return self._found[request]

    def _search(self, kind: Kind, conversation: str | None, turn: str | None) -> list[int]:
        entries = self._tape.of_kind(kind)
        own = [entry for entry in entries if self._tape.place(entry).conversation == conversation]
        here = [entry for entry in own if self._tape.place(entry).turn == turn]
        if here:
            return here
        if own:
            nearest = min(own, key=lambda entry: (self._distance(entry, turn), entry))
            return [nearest]
        return list(entries[:1])

    def _distance(self, entry: int, turn: str | None) -> int:
        other = self._tape.place(entry).turn
        return abs(_number(other) - _number(turn))


def _number(turn: str | None) -> int:
    return int(turn) if turn is not None and turn.isdecimal() else 0
