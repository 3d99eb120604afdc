"""A recording that can be played any number of times: one cassette under many settings.

A cassette hands each exchange out once, because each was one call of one run. Here every
turn that is evaluated is a run of its own: what it was handed stands in a set of entries
that the turn keeps, and the tape itself never changes.

Which exchange answers a call is what a cassette would say: the oldest of its key in the
scope that asks, then the oldest of its key in any scope. In other scopes answers that were
paid for go first: that an equal call was cached or shared there says nothing of this one.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls.call import Call, Outcome
from turnwise.calls.errors import FormatError
from turnwise.calls.key import CallKey
from turnwise.replay.cassette_exchange import decode_exchange, lane_digest, split_head
from turnwise.replay.cassette_file import CassetteFile
from turnwise.replay.cassette_keys import CassetteKeys
from turnwise.replay.cassette_miss import explain_miss
from turnwise.replay.normalising import Normaliser, agreed_normaliser

__all__ = ["Kind", "Place", "Tape"]

Kind = tuple[str | None, str, str | None]
"""Node, purpose and response schema: what makes one answer usable where another was asked."""

_FREE = frozenset({Outcome.CACHED.value, Outcome.COALESCED.value})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an exchange was recorded, and of what kind it is.

    Args:
        conversation: its conversation, or None.
        turn: its turn, as the name of the scope.
        kind: what it could stand in for.
    """

    conversation: str | None
    turn: str | None
    kind: Kind


class Tape:
    """All exchanges of a cassette, in memory once they were asked for.

    Args:
        path: the cassette's file. Read, never written.

    Raises:
        FormatError: when there is no whole cassette of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = CassetteFile.open_reading(path)
        # Tapes are cached by those who evaluate; one that is forgotten gives its file back.
        weakref.finalize(self, self._file.close)
        self._by_scope: dict[bytes, list[int]] = {}
        self._by_key: dict[bytes, list[int]] = {}
        self._places: list[Place] = []
        self._by_kind: dict[Kind, list[int]] = {}
        self._decoded: dict[int, RecordedExchange] = {}
        try:
            self._keys = CassetteKeys(self._file, self._normaliser())
            self._read_all()
        except BaseException:
            self._file.close()
            raise

    def _normaliser(self) -> Normaliser:
        try:
            return agreed_normaliser(Normaliser(), self._file.header.normalise)
        except ValueError as error:
            raise FormatError(self.path, 1, str(error)) from error

    def _read_all(self) -> None:
        paid: dict[bytes, list[int]] = {}
        free: dict[bytes, list[int]] = {}
        asked: dict[int, tuple[int, ...]] = {}
        for entry in range(len(self._file.index)):
            key, lane = split_head(self._file.line(entry))
            document = self._file.read(entry)
            self._by_scope.setdefault(key + lane, []).append(entry)
            side = free if document.get("outcome") in _FREE else paid
            side.setdefault(key, []).append(entry)
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

    def place(self, entry: int) -> Place:
        """Return where an exchange was recorded."""
        return self._places[entry]

    def take(
        self, key: CallKey, call: Call, where: Where, taken: set[int]
    ) -> RecordedExchange | None:
        """Return the exchange that answers a call, and add it to `taken`; None when none is left.

        Raises:
            FormatError: when the exchange's line is damaged.
        """
        lane = lane_digest(where.scope)
        for name in self._keys.all(key, call, where):
            for entries in (self._by_scope.get(name + lane, ()), self._by_key.get(name, ())):
                for entry in entries:
                    if entry not in taken:
                        taken.add(entry)
                        return self.exchange(entry)
        return None

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
            try:
                found = decode_exchange(self._file.read(entry))
            except ValueError as error:
                raise self._file.damaged(entry, str(error)) from error
            self._decoded[entry] = found
        return found

    def explain(self, key: CallKey, call: Call, where: Where) -> str:
        """Return in words how a call differs from the nearest recorded one."""
        own = self._keys.own(key, call, where)
        return explain_miss(self._file, own, call, where, self._keys.normaliser)

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._file.close()


def _place_of(document: dict[str, Any]) -> Place:
    settings = document.get("settings") or {}
    kind = (document.get("node"), str(document.get("purpose")), settings.get("response_schema"))
    return Place(document.get("conversation"), document.get("turn"), kind)
