"""What one call has taken from the rooms above it, so that it can settle or move.

Taking is all or nothing: every room from the call's scope up to the root is asked
first, and only if all agree is anything taken. There is no await in between, so on
one event loop no other call can slip in.
"""

from collections.abc import Sequence

from turnwise.budget.lease import NO_CREDIT, Credit
from turnwise.budget.room import NOTHING, Amounts, Room
from turnwise.calls.errors import CallRefused

__all__ = ["Account"]


class Account:
    """The books of one call with the limits that bind it.

    Args:
        rooms: the rooms that bind it, innermost first; empty without limits.

    Attributes:
        credit: its share of a lease.
    """

    __slots__ = ("_over", "_rooms", "_taken", "credit")

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = rooms
        self.credit: Credit = NO_CREDIT
        self._taken = NOTHING
        self._over = NOTHING

    @property
    def taken(self) -> Amounts:
        """What it has taken and not given back."""
        return self._taken

    @property
    def limits_spending(self) -> bool:
        """Whether tokens or USD are limited, so that an attempt has to be estimated."""
        return any(room.limits_spending for room in self._rooms)

    def take(self, asked: Amounts, *, is_recorded: bool = False) -> CallRefused | None:
        """Take `asked` from every room, or nothing: then the refusal says why.

        Args:
            asked: what is wanted.
            is_recorded: whether its tokens and USD are those of a recorded call; see
                `Room.refusal`.
        """
        credit = self.credit
        for room in self._rooms:
            refusal = room.refusal(asked, credit.in_room(room), is_recorded=is_recorded)
            if refusal is not None:
                return refusal
        if credit is not NO_CREDIT:
            credit.use(asked)
        self.charge(asked)
        return None

    def charge(self, amounts: Amounts) -> None:
        """Take amounts whether they fit or not: they are spent already."""
        for room in self._rooms:
            room.take(amounts)
        self._taken = _sum(self._taken, amounts)

    def pass_reservation(self, over: Amounts) -> None:
        """Note that of what is taken this much went beyond what had been reserved."""
        for room in self._rooms:
            room.pass_reservation(over)
        self._over = _sum(self._over, over)

    def settle(self, reserved: Amounts, actual: Amounts) -> None:
        """Replace a reservation by what was really used."""
        if reserved != actual:
            self.charge(
                Amounts(
                    actual[0] - reserved[0],
                    actual[1] - reserved[1],
                    actual[2] - reserved[2],
                    actual[3] - reserved[3],
                )
            )

    def refuse(self) -> None:
        """Give back everything, and its share to the lease: the call never was."""
        self.settle(self._taken, NOTHING)
        self.credit.put_back()

    def close(self) -> None:
        """Stop holding back what the lease kept for it. What is taken stays taken."""
        self.credit.drop()

    def move_to(self, other: "Account") -> CallRefused | None:
        """Move everything but the call itself to whoever pays from now on.

        Rooms that both share keep it. Nothing moves when it does not fit there.
        """
        moved = self._taken._replace(calls=0)
        self.settle(moved, NOTHING)
        refusal = other.take(moved)
        if refusal is not None:
            self.charge(moved)
            return refusal
        if self._over != NOTHING:
            other.pass_reservation(self._over)
            self.pass_reservation(Amounts(*(-amount for amount in self._over)))
        return None


def _sum(amounts: Amounts, others: Amounts) -> Amounts:
    return Amounts(
        amounts[0] + others[0],
        amounts[1] + others[1],
        amounts[2] + others[2],
        amounts[3] + others[3],
    )
