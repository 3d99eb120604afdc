"""Budget of several processes: what they spend together stays within limits of all of them.

Problem: processes that each count for themselves overshoot together; a counter on a server that
is added to and taken from drifts with each process that dies, each reply that is lost and each
process that is stopped, declared dead, and goes on.

Choice: what is *reserved* and what is *spent* are counted apart. A reservation is one script over
all scopes, taken whole or not at all, under the token of a lease that ends within two heartbeats
after the last sign of life, by the server's time: then it is free again. What was spent is
reported as the sum since the process began. So a report may be lost, repeated or late, from a
process that was declared dead, or for a server that has lost its memory: after the next one the
counts are right.

Rejected: a difference per settlement (counts twice, or not at all, where a reply is lost);
borrowing amounts ahead (the last of five calls may be with a process that does not need it).

Invariant: on the server, used = spent by each process, as last reported + reserved by the living.
"""

import asyncio
import logging
import math
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from callwise.budget.clock import Clock
from callwise.budget.fleet.budget_scripts import BEAT, FORMAT, JOIN, LEAVE, RESERVE, SETTLE
from callwise.budget.fleet.redis_link import RedisLink, Script
from callwise.budget.fleet.shared_limits import RUN, SharedLimits
from callwise.budget.limits import NOTHING, Amounts
from callwise.calls.errors import BudgetStoreLost, CallRefused, ConfigError
from callwise.calls.load.fleet_knobs import FleetKnobs

__all__ = ["LeaseEnded", "SharedBudget", "SharedReservation"]

LEASE_HEARTBEATS = 1.9
"""Heartbeats after which a process without a sign of life is taken for dead: so what it had
reserved is free within two."""

MAX_JOINS = 3
"""Most times that one reservation finds its lease ended and takes another."""

RETRY_SECONDS = 1.0
"""Shortest time between two attempts to reach a server that is lost."""

_LOGGER = logging.getLogger(__name__)


class LeaseEnded(BudgetStoreLost):
    """The process was stopped for so long that what it had reserved is free. Nothing was sent."""


class SharedReservation:
    """Amounts that this process has reserved in some scopes."""

    __slots__ = ("amounts", "is_granted", "number", "scopes")

    def __init__(self, number: int, scopes: tuple[str, ...], amounts: Amounts) -> None:
        self.number = number
        self.scopes = scopes
        self.amounts = amounts
        self.is_granted = False


class SharedBudget:
    """The part of one process in a budget of several.

    Args:
        make_link: returns the link to the server; called at the first reservation.

    Raises:
        ConfigError: when a limit is too large for the server's numbers.
    """

    def __init__(self, knobs: FleetKnobs, make_link: Callable[[], RedisLink], clock: Clock) -> None:
        self._knobs = knobs
        self._make_link = make_link
        self._clock = clock
        self.limits = SharedLimits(knobs)
        prefix = f"callwise:{{{knobs.name}}}:"
        self._keys = tuple(prefix + each for each in ("about", "counts", "leases", "held:"))
        self._lease_milliseconds = round(knobs.heartbeat_seconds * 1000 * LEASE_HEARTBEATS)
        self._process = uuid.uuid4().hex
        self._link: RedisLink | None = None
        self._token: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joining = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self._processes = 0
        self._numbers = self._reports = 0
        self._open: dict[int, SharedReservation] = {}
        self._held: defaultdict[str, Amounts] = defaultdict(Amounts)
        self._spent: defaultdict[str, Amounts] = defaultdict(Amounts)
        self._used: dict[str, Amounts] = {}
        self.lost: BudgetStoreLost | None = None
        """The error by which the server was lost; None while it is there."""
        self.on_version: Callable[[bytes], Awaitable[None]] | None = None
        """Called with the version of the breakers on the server."""
        self._lease_ends_seconds = math.inf
        self._lost_at_seconds = self._retry_at_seconds = 0.0
        self._parts: dict[str, tuple[int | None, ...]] = {}
        self._counts = {"reserved": 0, "refused": 0, "reserved_locally": 0, "joined": 0, "lost": 0}

    def statistics(self) -> Mapping[str, int]:
        """Return reservations, refusals, leases taken and times that the server was lost."""
        return {
            **self._counts,
            "processes": self._processes,
            "open": len(self._open),
            "is_lost": int(self.lost is not None),
        }

    @property
    def lost_seconds(self) -> float:
        """Time for which the server has been lost; 0 while it is there."""
        return 0.0 if self.lost is None else self._clock.now() - self._lost_at_seconds

    def require_lease(self) -> None:
        """Do nothing while what is reserved is certain to be so.

        Raises:
            LeaseEnded: when no sign of life was answered for as long as a lease lasts.
        """
        if self._clock.now() >= self._lease_ends_seconds and (
            self.lost is None or self.part_of_processes is None
        ):
            raise LeaseEnded(
                "the lease of this process has ended, because it was stopped or its event loop "
                "was busy for too long"
            )

    def spent(self, scope: str = RUN) -> Amounts:
        """Return what this process has spent in a scope."""
        return self._spent.get(scope, NOTHING)

    async def used(self, scope: str = RUN) -> Amounts:
        """Return what the server has counted in a scope: spent by all, and reserved.

        Raises:
            BudgetStoreLost: when it cannot be reached.
        """
        names = [f"used {scope} {quantity}" for quantity in Amounts._fields]
        reply = await self._linked().command("HMGET", self._keys[1], *names)
        return Amounts(*(int(each or 0) for each in reply))

    async def reserve(self, scopes: tuple[str, ...], amounts: Amounts) -> SharedReservation:
        """Reserve amounts in all scopes, or in none.

        Raises:
            CallRefused: when they do not fit a limit.
            BudgetStoreLost: when the server cannot be reached, and no part is left to this
                process.
            ConfigError: when the server, or what is stored there, cannot be used.
        """
        self._numbers += 1
        reservation = SharedReservation(self._numbers, scopes, amounts)
        self._open[reservation.number] = reservation
        try:
            try:
                await self._reserve_shared(reservation)
            except BudgetStoreLost as lost:
                self._reserve_locally(reservation, lost)
        except BaseException as error:
            if isinstance(error, CallRefused):
                self._counts["refused"] += 1
            # It may have been granted, by a reply that came too late.
            self.settle(reservation, NOTHING)
            raise
        return reservation

    def _grant(self, reservation: SharedReservation) -> None:
        """Note that it is made, as the reply comes: the next lease reserves what is noted."""
        reservation.is_granted = True
        for scope in reservation.scopes:
            self._held[scope] += reservation.amounts

    def settle(
        self, reservation: SharedReservation, spent: Amounts, scopes: tuple[str, ...] | None = None
    ) -> None:
        """Replace a reservation by what was spent. Does not wait. Safe to do twice.

        Args:
            scopes: where it was spent; None takes those of the reservation.
        """
        if self._open.pop(reservation.number, None) is None:
            return
        if reservation.is_granted:
            for scope in reservation.scopes:
                self._held[scope] -= reservation.amounts
        reported = reservation.scopes if scopes is None else scopes
        if spent == NOTHING:
            reported = ()
        for scope in reported:
            self._spent[scope] += spent
        self._post_report(str(reservation.number), reported)

    async def aclose(self) -> None:
        """Report what is left, and give the lease back, not the link. Safe to call twice."""
        beating, self._beating = self._beating, None
        if beating is not None and not beating.done():
            beating.cancel()
            await asyncio.wait((beating,))
        if self._link is None:
            return
        try:
            async with self._joining:
                await self._report("", "", tuple(self._spent))
                await self._run(LEAVE, self._process)
        except (BudgetStoreLost, ConfigError) as error:
            _LOGGER.warning("the shared budget %s has not counted all: %s", self._knobs.name, error)
        self._token = None
        self._link = None

    # With the server.

    def _linked(self) -> RedisLink:
        if self._link is None:
            self._link = self._make_link()
        return self._link

    def _run(self, script: Script, *arguments: Any) -> "asyncio.Future[Any]":
        return self._linked().run(script, self._keys, arguments)

    async def _reserve_shared(self, reservation: SharedReservation) -> None:
        for _ in range(MAX_JOINS):
            token, began = await self._current_token(), self._clock.now()
            try:
                reply = await self._run(RESERVE, *self._reserve_arguments(token, reservation))
            except BudgetStoreLost as lost:
                self._lose(lost)
                raise
            if reply[0] == b"fenced":
                self._drop_token(token)
                continue
            self._extend_lease(began)
            self._note_used(reservation.scopes, reply[3])
            if reply[0] == b"refused":
                scope, index = reply[1].decode(), reply[2] - 1
                used, asked = self._used[scope][index], reservation.amounts[index]
                raise self.limits.refusal(scope, index, used, asked)
            self._counts["reserved"] += 1
            self._grant(reservation)
            if self.on_version is not None:
                await self.on_version(reply[1])
            return
        raise BudgetStoreLost(
            f"the lease of this process ends before it is used; raise load.fleet.heartbeat_seconds "
            f"({self._knobs.heartbeat_seconds:g}), or keep the event loop free"
        )

    def _reserve_arguments(
        self, token: str, reservation: SharedReservation, *, is_forced: bool = False
    ) -> list[Any]:
        scopes = reservation.scopes
        arguments: list[Any] = [token, reservation.number, int(is_forced)]
        arguments += [*map(str, reservation.amounts), len(scopes)]
        for scope in scopes:
            limits = self.limits.of(scope)
            arguments += [scope, *("" if each is None else str(each) for each in limits)]
        return [*arguments, self._lease_milliseconds]

    async def _current_token(self) -> str:
        """Return the token of the lease, after taking one where there is none.

        Raises:
            BudgetStoreLost: when the server cannot be reached, or could not be a moment ago.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The heartbeats of an event loop end with it.
            self._loop, self._joining, self._token, self._beating = loop, asyncio.Lock(), None, None
        if self._token is not None:
            return self._token
        async with self._joining:
            if self._token is None:
                is_soon = self._clock.now() < self._retry_at_seconds
                if self.lost is not None and (is_soon or self.part_of_processes is not None):
                    raise BudgetStoreLost(str(self.lost))
                await self._join()
            if self._token is None:
                raise BudgetStoreLost("the lease of this process has just ended")
            return self._token

    async def _join(self) -> None:
        """Take a lease, reserve again what is open, and report all that was spent.

        Raises:
            BudgetStoreLost: when the server cannot be reached.
            ConfigError: when its keys are not ours, or of a budget with other limits.
        """
        began = self._clock.now()
        try:
            state, what, *rest = await self._run(
                JOIN, self._process, FORMAT, self.limits.written, self._lease_milliseconds
            )
            if state != b"joined":
                raise self._misfit(state.decode(), what.decode(), rest)
            token: str = what.decode()
            granted = [each for each in self._open.values() if each.is_granted]
            waiting = [
                self._run(RESERVE, *self._reserve_arguments(token, each, is_forced=True))
                for each in granted
            ]
            waiting.append(self._report(token, "", tuple(self._spent)))
            await asyncio.gather(*waiting)
        except BudgetStoreLost as lost:
            self._lose(lost)
            raise
        # What was settled while it waited was reported under no token.
        self._token, self._processes, self.lost = token, rest[0], None
        self._extend_lease(began)
        self._parts.clear()
        self._counts["joined"] += 1
        for each in granted:
            if each.number not in self._open:
                self._post_report(str(each.number), tuple(self._spent))
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    def _report(self, token: str, number: str, scopes: Sequence[str]) -> "asyncio.Future[Any]":
        self._reports += 1
        arguments: list[Any] = [token, number, self._process, self._reports, len(scopes)]
        for scope in scopes:
            arguments += [scope, *map(str, self._spent[scope])]
        return self._run(SETTLE, *arguments)

    def _post_report(self, number: str, scopes: Sequence[str]) -> None:
        """Report without waiting. What is not reported now is when the process joins again."""
        if self._token is None or self._link is None:
            return
        try:
            reported = self._report(self._token, number, scopes)
        except RuntimeError:  # the event loop is gone
            self._token = None
            return
        reported.add_done_callback(self._end_report)

    def _end_report(self, reported: "asyncio.Future[Any]") -> None:
        error = None if reported.cancelled() else reported.exception()
        if isinstance(error, BudgetStoreLost):
            self._lose(error)
        elif error is not None:
            _LOGGER.error("the shared budget %s has not counted: %s", self._knobs.name, error)
            self._token = None

    async def _beat(self) -> None:
        """Extend the lease at each heartbeat, and take another where it has ended."""
        while True:
            await self._clock.sleep(self._knobs.heartbeat_seconds)
            try:
                token, began = self._token, self._clock.now()
                if token is not None:
                    state, version, *rest = await self._run(BEAT, token, self._lease_milliseconds)
                    if state == b"alive":
                        self._processes = rest[0]
                        self._extend_lease(began)
                        if self.on_version is not None:
                            await self.on_version(version)
                        continue
                    self._drop_token(token)
                async with self._joining:
                    if self._token is None:
                        await self._join()
            except BudgetStoreLost as lost:
                self._lose(lost)
            except Exception as error:  # it goes on: without it the lease would end
                _LOGGER.exception("the shared budget %s has a problem", self._knobs.name)
                self._lose(BudgetStoreLost(str(error)))

    def _extend_lease(self, began_seconds: float) -> None:
        """Note that the lease counts from when a sign of life was sent, or later."""
        ends_seconds = began_seconds + self._lease_milliseconds / 1000
        if self._lease_ends_seconds < ends_seconds or self._lease_ends_seconds == math.inf:
            self._lease_ends_seconds = ends_seconds

    def _drop_token(self, token: str) -> None:
        if self._token == token:
            self._token = None

    def _lose(self, lost: BudgetStoreLost) -> None:
        self._token = None
        wait_seconds = min(RETRY_SECONDS, self._knobs.heartbeat_seconds)
        self._retry_at_seconds = self._clock.now() + wait_seconds
        if self.lost is None:
            self._lost_at_seconds = self._clock.now()
            self._counts["lost"] += 1
            _LOGGER.warning("the shared budget %s is lost: %s", self._knobs.name, lost)
        self.lost = lost

    def _note_used(self, scopes: Sequence[str], used: Sequence[bytes]) -> None:
        for index, scope in enumerate(scopes):
            self._used[scope] = Amounts(*map(int, used[index * 4 : index * 4 + 4]))

    def _misfit(self, state: str, what: str, rest: Sequence[Any]) -> ConfigError:
        name, address = self._knobs.name, self._linked().address
        if state == "foreign":
            return ConfigError(
                f"Redis at {address} has a key {what} that is a {rest[0].decode()} of another "
                "program. Use another load.fleet.name or another database"
            )
        if state == "format":
            return ConfigError(
                f"the shared budget {name} at {address} was written by another version of "
                f"Callwise (format {what}, here {FORMAT}). Use another load.fleet.name"
            )
        return ConfigError(
            f"the shared budget {name} at {address} has other limits ({what}) than this process "
            f"({self.limits.written}). Give every process the same load.fleet.limits, or use "
            "another load.fleet.name"
        )

    # Without the server.

    @property
    def part_of_processes(self) -> int | None:
        """Number of processes that share while the server is lost; None where none may go on."""
        is_local = self._knobs.on_lost == "local" and self._processes > 0
        return self._processes if is_local else None

    def _reserve_locally(self, reservation: SharedReservation, lost: BudgetStoreLost) -> None:
        """Reserve from the part of this process.

        Raises:
            CallRefused: when it does not fit.
            BudgetStoreLost: when it has no part.
        """
        if self.part_of_processes is None:
            raise self._knobs.lost_without_part(lost)
        for scope in reservation.scopes:
            own = self._spent[scope] + self._held[scope]
            part = self._parts.get(scope)
            if part is None:
                part = self._parts[scope] = self._part(scope, own)
            for index, (limit, amount) in enumerate(zip(part, reservation.amounts, strict=True)):
                if limit is not None and amount and own[index] + amount > limit:
                    refusal = self.limits.refusal(scope, index, own[index], amount, limit)
                    raise refusal from None
        self._counts["reserved_locally"] += 1
        self._grant(reservation)

    def _part(self, scope: str, own: Amounts) -> tuple[int | None, ...]:
        """Return what this process may use in all: an equal part, and of what was left one too."""
        count, used = self._processes, self._used.get(scope, own)
        return tuple(
            None if limit is None else min(limit // count, mine + max(limit - known, 0) // count)
            for limit, known, mine in zip(self.limits.of(scope), used, own, strict=True)
        )
