"""A recording for any number of settings, and answers that stand in for calls it lacks.

A cassette hands each exchange out once, because each was one call of one run. Here every
turn that is evaluated is a run by itself: the turn keeps the set of entries that it was
given, and the recording never changes. Which exchange answers a call is as in a cassette:
the oldest of its key in the scope that asks, then the oldest of its key in any scope. In
other scopes answers that were paid for go first, since a cached or shared answer there does
not mean that this call would be one. A purchase adds what it buys.

A stand-in lets a turn be played to its end, to estimate how many calls it asks and what
they cost. It is an answer to another prompt: nothing after it is exact, and every figure
that depends on it is shown as an estimate. The nearest answer of the same kind (node,
purpose, response schema) is taken: of the same turn if there is one, since it answers the
same message, else of the nearest turn of the conversation, else the oldest at all. Within a
turn stand-ins take turns, so that a judge that is asked three times gives three answers.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.answer_cache import AnswerCache
from callwise.calls.call import Call, Outcome, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.key import CallKey
from callwise.recordings.cassette_file import CassetteFile
from callwise.recordings.cassette_format import lane_digest, prompt_of, split_head
from callwise.recordings.cassette_inspection import explain_miss
from callwise.recordings.normalising import CassetteKeys, Normaliser
from callwise.recordings.recorded_choices import RecordedChoices

__all__ = ["Kind", "MissingCall", "ReusableCassette", "StandInAnswers", "TurnLane"]

Kind = tuple[str | None, str, str | None]
"""Node, purpose and response schema: what makes one answer usable where another was asked."""

_FREE = frozenset({Outcome.CACHED.value, Outcome.COALESCED.value})


@dataclass(frozen=True, slots=True)
class TurnLane:
    """Place and kind of a recorded exchange.

    Args:
        turn: its turn, as the name of the scope.
    """

    conversation: str | None
    turn: str | None
    kind: Kind


class ReusableCassette:
    """All exchanges of a cassette, in memory once they were asked for.

    Args:
        path: the cassette's file. Read, never written.

    Attributes:
        read_answers: answers of it that a setting has read, for the next one.

    Raises:
        FormatError: when there is no whole cassette of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_answers = AnswerCache()
        self._file = CassetteFile.open_reading(path)
        # Cassettes are cached by those who evaluate; one that is forgotten gives its file back.
        weakref.finalize(self, self._file.close)
        self._by_scope: dict[bytes, list[int]] = {}
        self._by_key: dict[bytes, list[int]] = {}
        self._free: set[int] = set()
        self._similar: set[int] = set()
        self._places: list[TurnLane] = []
        self._by_kind: dict[Kind, list[int]] = {}
        self._decoded: dict[int, RecordedExchange] = {}
        self._choices: RecordedChoices | None = None
        try:
            self._keys = CassetteKeys(self._file, Normaliser())
            self._read_all()
        except BaseException:
            self._file.close()
            raise

    def _read_all(self) -> None:
        paid: dict[bytes, list[int]] = {}
        free: dict[bytes, list[int]] = {}
        asked: dict[int, tuple[int, ...]] = {}
        for entry in range(len(self._file.index)):
            key, lane = split_head(self._file.line(entry))
            document = self._file.read(entry)
            self._by_scope.setdefault(key + lane, []).append(entry)
            is_free = document.get("outcome") in _FREE
            (free if is_free else paid).setdefault(key, []).append(entry)
            if is_free:
                self._free.add(entry)
            if (document.get("delivery") or {}).get("similar"):
                self._similar.add(entry)
            asked[entry] = tuple(document.get("asked", (-1, 0)))
            place = _place_of(document)
            self._places.append(place)
            if document.get("reply") and document.get("attempts"):
                self._by_kind.setdefault(place.kind, []).append(entry)
        for entries in self._by_scope.values():
            entries.sort(key=asked.__getitem__)
        for key in dict.fromkeys((*paid, *free)):
            self._by_key[key] = paid.get(key, []) + free.get(key, [])

    def __len__(self) -> int:
        """Return how many exchanges there are."""
        return len(self._places)

    @property
    def recovered_bytes(self) -> int:
        """Length of a broken last line that is left out; 0 when the file is whole."""
        return self._file.recovered_bytes

    def place(self, entry: int) -> TurnLane:
        """Return where an exchange was recorded."""
        return self._places[entry]

    def take(
        self,
        key: CallKey,
        call: Call,
        where: CallOrigin,
        taken: set[int],
        *,
        plays_similar: bool = False,
    ) -> RecordedExchange | None:
        """Return the exchange that answers a call, and add it to `taken`; None when none is left.

        Args:
            plays_similar: also one with the answer to a similar call, which other settings need not
                have been given.

        Raises:
            FormatError: when the exchange's line is damaged.
        """
        lane = lane_digest(where.scope)
        for name in self._keys.all(key, call, where):
            for entries in (self._by_scope.get(name + lane, ()), self._by_key.get(name, ())):
                for entry in entries:
                    if entry not in taken and (plays_similar or entry not in self._similar):
                        taken.add(entry)
                        return self.exchange(entry)
        return None

    def asked_key(self, key: CallKey, call: Call, where: CallOrigin) -> CallKey:
        """Return the key under which it has a question; see `RecordsChoices`."""
        return self._keys.own(key, call, where)

    def choice(
        self, asked: CallKey, where: CallOrigin, *, table: str, step: int, taken: set[int]
    ) -> Choice | None:
        """Return the choice of a question, and add it to `taken`; None when none is left.

        Those that were added since it was opened are not there: they are decided again.
        """
        if self._choices is None:
            self._choices = RecordedChoices(self._file)
        lane = lane_digest(where.scope)
        return self._choices.take(asked, lane, table=table, step=step, taken=taken)

    def key_of(self, key: CallKey, call: Call, where: CallOrigin) -> bytes:
        """Return the key under which a call is recorded here."""
        return bytes.fromhex(self._keys.own(key, call, where))

    def add(self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange) -> int:
        """Add an exchange that was recorded since, and return its entry."""
        entry, name = len(self._places), self.key_of(key, call, where)
        kind = _kind_of_call(call, where)
        self._places.append(TurnLane(where.conversation, where.turn, kind))
        self._decoded[entry] = exchange
        self._by_scope.setdefault(name + lane_digest(where.scope), []).append(entry)
        entries = self._by_key.setdefault(name, [])
        if exchange.outcome.value in _FREE:
            self._free.add(entry)
            entries.append(entry)
        else:
            entries.insert(sum(each not in self._free for each in entries), entry)
        if exchange.reply is not None and exchange.usage.attempts:
            self._by_kind.setdefault(kind, []).append(entry)
        return entry

    def of_kind(self, kind: Kind) -> Sequence[int]:
        """Return the entries of a kind that were answered and paid for, oldest first."""
        return self._by_kind.get(kind, ())

    def exchange(self, entry: int) -> RecordedExchange:
        """Return an exchange.

        Raises:
            FormatError: when its line is damaged.
        """
        found = self._decoded.get(entry)
        if found is None:
            found = self._decoded[entry] = self._file.decoded(entry, self._file.read(entry))
        return found

    def explain(self, key: CallKey, call: Call, where: CallOrigin) -> str:
        """Return how a call differs from the nearest recorded one."""
        own = self._keys.own(key, call, where)
        return explain_miss(self._file, own, call, where, self._keys.normaliser)

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._file.close()


def _place_of(document: dict[str, Any]) -> TurnLane:
    settings = document.get("settings") or {}
    kind = (document.get("node"), str(document.get("purpose")), settings.get("response_schema"))
    return TurnLane(document.get("conversation"), document.get("turn"), kind)


def _kind_of_call(call: Call, where: CallOrigin) -> Kind:
    schema = prompt_of(call).get("settings", {}).get("response_schema")
    return where.node, where.purpose.value, schema


@dataclass(frozen=True, slots=True)
class MissingCall:
    """A call that a real run would have to buy, and what it would cost, about.

    Args:
        input_tokens: of its stand-in.
        usd: the same; None when that is not known.
    """

    node: str | None
    role: Role
    purpose: Purpose
    input_tokens: int
    output_tokens: int
    usd: float | None


class StandInAnswers:
    """Finds answers of other calls."""

    def __init__(self, cassette: ReusableCassette) -> None:
        self._cassette = cassette
        self._found: dict[tuple[Kind, str | None, str | None], list[int]] = {}

    def find(self, call: Call, where: CallOrigin, used: dict[Kind, int]) -> RecordedExchange | None:
        """Return the stand-in of a call; None when there is none of its kind.

        Args:
            used: how many of each kind this turn has used; counted on.
        """
        kind = _kind_of_call(call, where)
        entries = self._nearest(kind, where.conversation, where.turn)
        if not entries:
            return None
        number = used.get(kind, 0)
        used[kind] = number + 1
        exchange = self._cassette.exchange(entries[number % len(entries)])
        # What it would cost if it were sent: its failures and its luck are not copied.
        usage = exchange.usage._replace(requests=1, attempts=1)
        return replace(exchange, outcome=Outcome.SERVED, error=None, usage=usage)

    def _nearest(self, kind: Kind, conversation: str | None, turn: str | None) -> list[int]:
        request = (kind, conversation, turn)
        if request not in self._found:
            self._found[request] = self._search(kind, conversation, turn)
        return self._found[request]

    def _search(self, kind: Kind, conversation: str | None, turn: str | None) -> list[int]:
        entries = self._cassette.of_kind(kind)
        own = [
            entry for entry in entries if self._cassette.place(entry).conversation == conversation
        ]
        here = [entry for entry in own if self._cassette.place(entry).turn == turn]
        if here:
            return here
        if own:
            nearest = min(own, key=lambda entry: (self._distance(entry, turn), entry))
            return [nearest]
        return list(entries[:1])

    def _distance(self, entry: int, turn: str | None) -> int:
        other = self._cassette.place(entry).turn
        return abs(_number(other) - _number(turn))


def _number(turn: str | None) -> int:
    return int(turn) if turn is not None and turn.isdecimal() else 0
