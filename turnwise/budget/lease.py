"""Leases: capacity held back for the call that must come.

A scope whose budget runs out still has to end in a reply. So a lease takes calls (and
a request for each, tokens, USD) off what everyone in the scope may use, and only
calls that name the lease may draw on it. It is held back in the scope that holds it and
in those around it, as far as each has room; limits still bind whoever draws.

Invariant: what a room holds back is the sum of the leases that were not yet drawn or
released, and of the credits that drawn calls have not yet used.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from turnwise.budget.room import NOTHING, Amounts, Room
from turnwise.budget.usage import PICODOLLARS

__all__ = ["NO_CREDIT", "Credit", "Lease", "LeaseStatistics"]


@dataclass(frozen=True, slots=True)
class LeaseStatistics:
    """What a lease still holds back.

    Args:
        name: its name.
        calls: calls that may still draw on it.
        tokens: tokens set aside for them.
        usd: USD set aside for them.
    """

    name: str
    calls: int
    tokens: int
    usd: float


def _less(amounts: Amounts, other: Amounts) -> Amounts:
    return Amounts(*(mine - theirs for mine, theirs in zip(amounts, other, strict=True)))


def _more(amounts: Amounts, other: Amounts) -> Amounts:
    return Amounts(*(mine + theirs for mine, theirs in zip(amounts, other, strict=True)))


class Credit:
    """One drawn call's share of a lease, until it has used it or ended.

    Args:
        lease: the lease it was drawn from, or None for no credit at all.
        shares: how much is held back for it, room by room.
    """

    __slots__ = ("_lease", "_shares")

    def __init__(self, lease: "Lease | None", shares: dict[Room, Amounts]) -> None:
        self._lease = lease
        self._shares = shares

    def in_room(self, room: Room) -> Amounts:
        """Return what is held back for this call in a room."""
        return self._shares.get(room, NOTHING)

    def use(self, asked: Amounts) -> None:
        """Stop holding back what `asked` now uses, as far as the credit covers it."""
        for room, share in self._shares.items():
            used = Amounts(*map(min, share, asked))
            room.release(used)
            self._shares[room] = _less(share, used)

    def drop(self) -> None:
        """Stop holding back what was not used. Safe to do twice."""
        for room, share in self._shares.items():
            room.release(share)
        self._shares = {}

    def put_back(self) -> None:
        """Return what was not used to the lease: its call was refused."""
        if self._lease is not None:
            self._lease.take_back(self._shares)
        self._shares = {}


NO_CREDIT = Credit(None, {})
"""The credit of a call that draws on no lease."""


class Lease:
    """What one name holds back.

    Args:
        name: its name.
        rooms: where it is held back.
        wanted: how much; what a room does not have is not held there.
    """

    __slots__ = ("_left", "name")

    def __init__(self, name: str, rooms: Iterable[Room], wanted: Amounts) -> None:
        self.name = name
        self._left = {room: room.hold(wanted) for room in rooms}

    @property
    def calls_left(self) -> int:
        """Calls that may still draw on it."""
        return max((left.calls for left in self._left.values()), default=0)

    def statistics(self) -> LeaseStatistics:
        """Return what it still holds back; the most of any of its rooms."""
        left = list(self._left.values())
        return LeaseStatistics(
            name=self.name,
            calls=self.calls_left,
            tokens=max((amounts.tokens for amounts in left), default=0),
            usd=max((amounts.picodollars for amounts in left), default=0) / PICODOLLARS,
        )

    def draw(self) -> Credit:
        """Return one call's share; tokens and USD are shared equally by the calls left."""
        calls = self.calls_left
        if calls == 0:
            return NO_CREDIT
        shares = {
            room: Amounts(
                min(1, left.calls),
                min(1, left.requests),
                -(-left.tokens // calls),
                -(-left.picodollars // calls),
            )
            for room, left in self._left.items()
        }
        for room, share in shares.items():
            self._left[room] = _less(self._left[room], share)
        return Credit(self, shares)

    def take_back(self, shares: dict[Room, Amounts]) -> None:
        """Hold back again what a refused call had drawn."""
        for room, share in shares.items():
            if room in self._left:
                self._left[room] = _more(self._left[room], share)
            else:
                room.release(share)

    def release(self) -> None:
        """Hold back nothing any more. Safe to do twice."""
        for room, left in self._left.items():
            room.release(left)
        self._left = {}
