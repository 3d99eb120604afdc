"""Seconds that planned calls take: a simulation of events with the queues and limits of a run.

Each call waits for the calls before it, then in the queue of its endpoint, as the layer
`schedule` queues it: by class of urgency, with so many requests under way, under the same rate
limits. Time jumps from one event to the next, so that a plan of hours takes milliseconds.

Exact for calls that take the latency and the tokens that are assumed, without retries, repairs
and answers that are shared or kept; the time between a call's end and the next call is left out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Protocol

from callwise.budget.rate import EndpointGate, RateNeed, RatePart
from callwise.budget.rate.meters import SharedMeters
from callwise.budget.schedule.run_slots import Slots
from callwise.budget.schedule.waiting_queue import WaitingEntry, WaitingQueue
from callwise.budget.token_estimate import RESERVE_MARGIN
from callwise.budget.usage import NO_USAGE, Usage
from callwise.calls.call import Priority, Purpose, Role
from callwise.calls.kinds import PRIORITIES
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import DEFAULT_TASKS, ScheduleKnobs
from callwise.calls.reply import ReportedUsage
from callwise.plans.bound import BoundTask, FlatPlan, PlannedCall, moments_of

__all__ = ["Assumptions", "Makespan", "RecordedCall", "makespan", "makespan_of"]

MAX_LATENCY_SECONDS = 86_400
"""Longest latency: longer ones are beyond the precision of the sums of a plan."""

MAX_TURNS = 10_000
"""Most turns of all users, which take minutes to simulate."""


class RecordedCall(Protocol):
    """A row of a ledger, as far as it shows what its endpoint takes."""

    @property
    def purpose(self) -> Purpose:
        """The purpose of the call."""

    @property
    def usage(self) -> Usage:
        """The usage of the call."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions on endpoints and on the load, for the seconds of a plan.

    Args:
        latency_seconds: of every request; from 0 to `MAX_LATENCY_SECONDS`.
        latencies: of the requests of a purpose, in its place.
        tokens: input and output tokens of a call of a purpose, in place of the planned ones.
        load: the knobs of all endpoints: slots and rate limits.
        endpoint_loads: those of the endpoint of a role, laid over them.
        endpoints: the endpoint of each role by any name; roles with one name, and all that
            have none, share its queue and limits.
        users: users at the same time, each with a conversation.
        turns: turns of each user, one after another; `MAX_TURNS` of all users at most.

    Raises:
        ValueError: for a latency out of range, and for no user or turn, or too many.
    """

    latency_seconds: float = 1.0
    latencies: Mapping[Purpose, float] = field(default_factory=dict)
    tokens: Mapping[Purpose, tuple[int, int]] = field(default_factory=dict)
    load: LoadKnobs = field(default_factory=LoadKnobs)
    endpoint_loads: Mapping[Role, LoadKnobs] = field(default_factory=dict)
    endpoints: Mapping[Role, str] = field(default_factory=dict)
    users: int = 1
    turns: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be assumed."""
        for seconds in (self.latency_seconds, *self.latencies.values()):
            if not 0 <= seconds <= MAX_LATENCY_SECONDS:
                raise ValueError(
                    f"a latency is from 0 to {MAX_LATENCY_SECONDS:,} seconds, got {seconds:g}"
                )
        if self.users < 1 or self.turns < 1:
            raise ValueError(f"users and turns are at least 1, got {self.users} and {self.turns}")
        if self.users * self.turns > MAX_TURNS:
            raise ValueError(
                f"users x turns is at most {MAX_TURNS:,}, got {self.users:,} x {self.turns:,}: "
                "plan fewer, and multiply the seconds"
            )

    def latency_of(self, purpose: Purpose) -> float:
        """Return the seconds that a request of a purpose takes."""
        return self.latencies.get(purpose, self.latency_seconds)

    def tokens_of(self, call: PlannedCall) -> tuple[int, int]:
        """Return the input and output tokens of a call."""
        return self.tokens.get(call.purpose, (call.input_tokens, call.output_tokens))

    def with_record(self, calls: Iterable[RecordedCall]) -> "Assumptions":
        """Return these with the mean latency and tokens of each purpose of recorded calls."""
        sums: dict[Purpose, Usage] = {}
        for call in calls:
            if call.usage.requests and not call.usage.unknown_usage:
                sums[call.purpose] = sums.get(call.purpose, NO_USAGE) + call.usage
        latencies, tokens = dict(self.latencies), dict(self.tokens)
        for purpose, usage in sums.items():
            latencies[purpose] = usage.work_microseconds / 1e6 / usage.attempts
            of_input, of_output = usage.input_tokens, usage.output_tokens
            tokens[purpose] = (round(of_input / usage.requests), round(of_output / usage.requests))
        return replace(self, latencies=latencies, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Makespan:
    """Seconds that calls take.

    Args:
        seconds: until the last of them has ended.
        reply_seconds: from the begin of a turn to its reply, of all turns, in order of users.
        turn_seconds: from the begin of a turn to its end, likewise.
        delayed: requests that waited for each rate limit, by its name.
    """

    seconds: float
    reply_seconds: tuple[float, ...]
    turn_seconds: tuple[float, ...]
    delayed: Mapping[str, int]


class _QueuedCall(WaitingEntry):
    """One call that waits at its endpoint."""

    def __init__(self, place: int, priority: Priority, due_seconds: float, now: float) -> None:
        super().__init__(priority, due_seconds, now)
        self.place = place
        self.need: RateNeed | None = None


class _Lane:
    """The queue of one endpoint."""

    def __init__(self, name: str, load: LoadKnobs, shared: SharedMeters) -> None:
        knobs = load.schedule or ScheduleKnobs()
        self.most = knobs.max_concurrency if load.schedule is not None else math.inf
        self.slots = Slots(self.most, knobs.critical_slots)
        self.targets = [knobs.target_seconds(priority) or math.inf for priority in Priority]
        self.queue: WaitingQueue[_QueuedCall] = WaitingQueue(
            ageing_seconds=knobs.ageing_seconds,
            boost_seconds=knobs.boost_seconds,
            aged_every=knobs.aged_every,
        )
        self.wakes_at = math.inf
        self.gate: EndpointGate | None = None
        if load.rate is not None:
            self.gate = EndpointGate(load.rate, endpoint=name, key=name, shared=shared)


class _Simulation:
    """The events of a plan, once."""

    def __init__(
        self, tasks: Sequence[BoundTask], assumptions: Assumptions, users: Sequence[str]
    ) -> None:
        self._tasks = tasks
        self._users = users
        self._assumptions = assumptions
        self._lanes: dict[str, _Lane] = {}
        self._lane_of = self._make_lanes()
        self._slots = Slots(math.inf)
        if (schedule := assumptions.load.schedule) is not None:
            self._slots = Slots(self._most_tasks(schedule), schedule.critical_slots)
        self._events: list[tuple[float, int, int | _QueuedCall | None]] = []
        self._sequence = 0
        self._needs: dict[int, RateNeed] = {}
        self.ends = [0.0] * len(tasks)
        self._open_waits = [len(task.after) for task in tasks]
        self._waiting: list[list[int]] = [[] for _ in tasks]
        for place, task in enumerate(tasks):
            for other in task.after:
                self._waiting[other].append(place)

    def run(self) -> None:
        """Run until every call has ended."""
        for place, waits in enumerate(self._open_waits):
            if not waits:
                self._ask(place, 0.0)
        while self._events:
            now = self._events[0][0]
            ready: list[int] = []
            while self._events and self._events[0][0] <= now:
                ready += self._happen(heappop(self._events)[2], now)
                self._give_turns(now)
            for place in ready:  # a program goes on once all that ends now has ended
                self._ask(place, now)

    def delayed(self) -> dict[str, int]:
        """Return how many requests waited for each limit."""
        found: dict[str, int] = {}
        for lane in self._lanes.values():
            counts = {} if lane.gate is None else lane.gate.statistics()
            for name, count in counts.items():
                limit = name.removeprefix("rate_delayed_by_")
                if limit != name:
                    found[limit] = found.get(limit, 0) + int(count)
        return found

    def _make_lanes(self) -> dict[Role, _Lane]:
        assumptions, shared = self._assumptions, SharedMeters()
        lane_of: dict[Role, _Lane] = {}
        for role in Role:
            name = assumptions.endpoints.get(role, "")
            if name not in self._lanes:
                load = assumptions.load.laid_under(assumptions.endpoint_loads.get(role))
                self._lanes[name] = _Lane(name, load, shared)
            lane_of[role] = self._lanes[name]
        return lane_of

    def _most_tasks(self, knobs: ScheduleKnobs) -> float:
        if knobs.max_tasks is not None:
            return knobs.max_tasks
        return max(DEFAULT_TASKS, *(lane.most for lane in self._lanes.values()))

    def _ask(self, place: int, now: float) -> None:
        call = self._tasks[place].call
        lane, priority = self._lane_of[call.served_by], PRIORITIES[call.purpose]
        lane.queue.enqueue(_QueuedCall(place, priority, now + lane.targets[priority], now))
        self._give_turns(now)

    def _happen(self, event: "int | _QueuedCall | None", now: float) -> list[int]:
        """Return the calls that wait for nothing any more."""
        if event is None:  # a limit gives way
            return []
        if isinstance(event, _QueuedCall):  # the limit of its user gives way
            self._lane_of[self._tasks[event.place].call.served_by].queue.enqueue(event)
            return []
        return self._end(event, now)

    def _end(self, place: int, now: float) -> list[int]:
        call = self._tasks[place].call
        lane = self._lane_of[call.served_by]
        for slots in (lane.slots, self._slots):
            slots.give_back(PRIORITIES[call.purpose])
        self.ends[place] = now
        need = self._needs.pop(place, None)
        if lane.gate is not None and need is not None:
            used = ReportedUsage(*self._assumptions.tokens_of(call))
            lane.gate.settle(need, used, now, was_sent=True)
        followers = self._waiting[place]
        for follower in followers:
            self._open_waits[follower] -= 1
        return [follower for follower in followers if not self._open_waits[follower]]

    def _give_turns(self, now: float) -> None:
        for lane in self._lanes.values():
            while self._has_slot(lane, Priority.CRITICAL):
                is_kept = not self._has_slot(lane, Priority.NORMAL)
                entry = lane.queue.peek(now, is_critical_only=is_kept)
                if entry is None or not self._is_ready(lane, entry, now):
                    break

    def _has_slot(self, lane: _Lane, priority: Priority) -> bool:
        return lane.slots.has_one_for(priority) and self._slots.has_one_for(priority)

    def _is_ready(self, lane: _Lane, entry: _QueuedCall, now: float) -> bool:
        """Start the next call of a lane, or set its user's aside; False when it must wait."""
        gate, call = lane.gate, self._tasks[entry.place].call
        if gate is not None:
            if entry.need is None:
                of_input, of_output = self._assumptions.tokens_of(call)
                reserved = math.ceil(of_input * RESERVE_MARGIN)
                user = self._users[entry.place]
                entry.need = RateNeed([RatePart(reserved, of_output, call.purpose, user)])
            seconds = gate.ready_in(entry.need, now)
            if seconds and gate.bound_by(entry.need, now) is None:
                if not now < lane.wakes_at <= now + seconds:
                    lane.wakes_at = now + seconds
                    self._push(lane.wakes_at, None)
                return False
            if seconds:
                lane.queue.remove(entry)
                self._push(now + seconds, entry)
                return True
            gate.take(entry.need, now)
            self._needs[entry.place] = entry.need
        lane.queue.take(entry)
        for slots in (lane.slots, self._slots):
            slots.take(PRIORITIES[call.purpose])
        self._push(now + self._assumptions.latency_of(call.purpose), entry.place)
        return True

    def _push(self, at: float, event: "int | _QueuedCall | None") -> None:
        self._sequence += 1
        heappush(self._events, (at, self._sequence, event))


def makespan(plan: FlatPlan, assumptions: Assumptions, *, reply_part: str) -> Makespan:
    """Return the seconds that a turn's calls take, for all users and turns.

    Args:
        plan: the calls of one turn.
        reply_part: the part of its network after which the reply is out; where there is none,
            the reply is out at the end.
    """
    conversations = [[plan] * assumptions.turns] * assumptions.users
    return makespan_of(conversations, assumptions, reply_part=reply_part)


def makespan_of(
    conversations: Sequence[Sequence[FlatPlan]], assumptions: Assumptions, *, reply_part: str = ""
) -> Makespan:
    """Return the seconds that conversations take that run at the same time.

    Args:
        conversations: the calls of each turn, of each conversation; each is of another user.
        assumptions: their users and turns are passed over.
        reply_part: see `makespan`.
    """
    tasks: list[BoundTask] = []
    users: list[str] = []
    for user, turns in enumerate(conversations):
        lasts: tuple[int, ...] = ()
        for turn in turns:
            first = len(tasks)
            waited_for: set[int] = set()
            for task in turn.tasks:
                after = tuple(first + place for place in task.after)
                waited_for.update(after)
                tasks.append(BoundTask(task.call, after or lasts))
                users.append(str(user))
            if turn.tasks:
                lasts = tuple(set(range(first, len(tasks))) - waited_for)
    simulation = _Simulation(tasks, assumptions, users)
    simulation.run()
    replies, ends, first = [], [], 0
    for turns in conversations:
        start = 0.0
        for turn in turns:
            last = first + len(turn.tasks)
            times = moments_of(turn, simulation.ends[first:last], reply_part, start)
            replies.append(times.reply - start)
            ends.append(times.turn - start)
            start, first = times.turn, last
    seconds = max(simulation.ends, default=0.0)
    return Makespan(seconds, tuple(replies), tuple(ends), simulation.delayed())
