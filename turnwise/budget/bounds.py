"""What binds the calls of one scope: its rooms, its time, its leases, and those above."""
# ruff: noqa: SLF001 - an object reads the private parts of others of its own class

import math

from turnwise.budget.clock import Clock
from turnwise.budget.lease import NO_CREDIT, Credit, Lease, LeaseStatistics
from turnwise.budget.limits import Limits
from turnwise.budget.path import Path, Position
from turnwise.budget.room import Amounts, Room
from turnwise.budget.tally import LedgerError
from turnwise.calls.call import Role
from turnwise.calls.errors import CallRefused

__all__ = ["Bounds"]


class Bounds:
    """The limits of one scope, live.

    Args:
        scope: path of the scope, for errors.
        limits: its limits.
        clock: where its time comes from.
        progress: its path, which is its time under a virtual clock and in a replay.
        around: the bounds of the scope around it; None for the root.
    """

    def __init__(
        self, scope: str, limits: Limits, clock: Clock, progress: Path, around: "Bounds | None"
    ) -> None:
        self._scope = scope
        self._clock = clock
        self._progress = progress
        self._opened_at_seconds = clock.now()
        self._max_seconds = limits.max_seconds
        self._room = Room(scope, limits) if limits.is_counting else None
        self._role_rooms = {
            role: Room(scope, role_limits, role)
            for role, role_limits in limits.roles.items()
            if role_limits.is_counting
        }
        self._chain: tuple[Bounds, ...] = (self, *around._chain) if around else (self,)
        self._timed = tuple(bounds for bounds in self._chain if bounds._max_seconds is not None)
        self._rooms: dict[Role, tuple[Room, ...]] = {}
        self._leases: dict[str, Lease] = {}
        self._held_seconds: dict[str, float] = {}

    @property
    def is_timed(self) -> bool:
        """Whether a deadline binds here."""
        return bool(self._timed)

    def rooms(self, role: Role) -> tuple[Room, ...]:
        """Return the rooms that bind a call of a role, innermost first."""
        rooms = self._rooms.get(role)
        if rooms is None:
            found = (
                room
                for bounds in self._chain
                for room in (bounds._room, bounds._role_rooms.get(role))
            )
            rooms = self._rooms[role] = tuple(room for room in found if room is not None)
        return rooms

    def common_rooms(self) -> list[Room]:
        """Return the rooms that bind every role, innermost first."""
        return [bounds._room for bounds in self._chain if bounds._room is not None]

    def role_rooms(self) -> list[Room]:
        """Return the rooms that bind one role only, innermost first."""
        return [room for bounds in self._chain for room in bounds._role_rooms.values()]

    # Leases.

    def hold(self, name: str, wanted: Amounts, role: Role | None, *, seconds: float = 0.0) -> int:
        """Hold back `wanted` here and above, and return how many calls got room.

        Args:
            name: of the lease.
            wanted: what to hold back.
            role: hold back in this role's own limits too.
            seconds: the end of the time that is left for whoever draws first.
        """
        if name in self._leases:
            raise LedgerError(f"{self._scope} holds a lease {name!r} already")
        rooms = self.common_rooms() if role is None else self.rooms(role)
        lease = self._leases[name] = Lease(name, rooms, wanted)
        if seconds > 0:
            self._held_seconds[name] = seconds
        return lease.calls_left

    def hold_anew(
        self, name: str, one: Amounts, calls: int, role: Role, *, seconds: float = 0.0
    ) -> None:
        """Hold back for `calls` calls, less those that have drawn on this lease already.

        Args:
            name: of the lease.
            one: what to hold back for each call.
            calls: most calls that may draw on it in all.
            role: theirs.
            seconds: the end of the time that is left until the first of them is asked.
        """
        lease = self._leases.get(name)
        left = calls if lease is None else lease.calls_left
        if left:
            self.release(name)
            wanted = Amounts(*(amount * left for amount in one))
            self.hold(name, wanted, role, seconds=seconds if left == calls else 0.0)

    def release(self, name: str) -> None:
        """Hold back nothing for a lease any more."""
        self._held_seconds.pop(name, None)
        lease = self._leases.pop(name, None)
        if lease is not None:
            lease.release()

    def release_all(self) -> None:
        """Hold back nothing any more."""
        for name in list(self._leases):
            self.release(name)

    def draw(self, name: str | None) -> Credit:
        """Return a call's share of the nearest lease of that name; empty without one."""
        if name is not None:
            for bounds in self._chain:
                bounds._held_seconds.pop(name, None)
                lease = bounds._leases.get(name)
                if lease is not None and lease.calls_left:
                    return lease.draw()
        return NO_CREDIT

    def leases(self) -> tuple[LeaseStatistics, ...]:
        """Return what this scope's own leases still hold back."""
        return tuple(lease.statistics() for lease in self._leases.values())

    # Time.

    def refusal_by_time(
        self, position: Position, *, by_path: bool, lease: str | None = None
    ) -> CallRefused | None:
        """Return why there is no time left for a call, or None when there is.

        Args:
            position: where whoever asks stands.
            by_path: read the path, not the clock: what counts is recorded time.
            lease: the lease that it may draw on; time held back by others is not its.
        """
        if not self._timed:
            return None
        held = self._seconds_held_from(lease)
        for bounds in self._timed:
            left = bounds._own_seconds_left(position, by_path=by_path) - held
            if left <= 0:
                limit = bounds._max_seconds or 0.0
                return CallRefused(bounds._scope, "max_seconds", limit, limit - left, 0)
        return None

    def seconds_left(self, position: Position, *, by_path: bool = False) -> float | None:
        """Return the time until the nearest deadline, at least 0; None without one.

        What is held back for a lease that nobody has drawn on is taken off.

        Args:
            position: where whoever asks stands.
            by_path: read the path, not the clock.
        """
        if not self._timed:
            return None
        left = min(bounds._own_seconds_left(position, by_path=by_path) for bounds in self._timed)
        return max(left - self._seconds_held_from(None), 0.0)

    def _seconds_held_from(self, lease: str | None) -> float:
        """Return the time that leases hold back from a call which may draw on one."""
        return math.fsum(
            seconds
            for bounds in self._chain
            for name, seconds in bounds._held_seconds.items()
            if name != lease
        )

    def _own_seconds_left(self, position: Position, *, by_path: bool) -> float:
        if by_path or self._clock.is_virtual:
            elapsed = position.seconds - self._progress.start.seconds
        else:
            elapsed = self._clock.now() - self._opened_at_seconds
        return (self._max_seconds or 0.0) - elapsed

    def limit_value(self, scope: str, limit: str) -> float | None:
        """Return a limit that binds here, by its scope and name; None where none does."""
        for bounds in self._chain:
            if bounds._scope == scope:
                if limit == "max_seconds":
                    return bounds._max_seconds
                rooms = (bounds._room, *bounds._role_rooms.values())
                values = (room.limit_value(limit) for room in rooms if room is not None)
                return next((value for value in values if value is not None), None)
        return None
