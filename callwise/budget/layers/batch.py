"""Layer `batch`: calls that may travel in one request wait for each other, and do.

Texts to embed travel in one list; chat calls in a list of conversations, where the endpoint has a
route for that and they have equal parameters. Who asked does not matter: nodes, turns and users
share a request, and each row keeps its node, turn and tokens. Resamples are calls like others:
each is a conversation of its request, and has an answer to itself.

A batch waits for `BatchRule.window_seconds` after its last member, and not longer than
`max_wait_seconds`; it is sent as soon as it is full. While every call that is under way waits
here, a conversation waits for `idle_window_seconds` only: none can end and be followed by another.
While a batch waits for a place at the endpoint below, it may still be joined. A call that has
little time left waits for a quarter of it.

A request with several calls that failed is no failure of each: the next attempt of a conversation
travels alone, and one of texts in halves, until the one that is wrong is alone. What the failed
request was reported to use is on the rows of its calls. A limit of the rate, a wrong key and what
else is not about the content reaches each call as it came.

Rejected: lists of prompts for `/completions`. The client would have to write the model's chat
template itself: a call in a batch would ask something else than alone, and a text could forge the
template's marks.

A request is reserved when it is sent, by the first of its calls that has quota; a call has reserved
none before. Where none has quota, or the payer leaves and none takes over, all are refused.

Invariant: of the calls that wait here each ends once: by its answer, its error, or its leaving.
A batch that none waits for any more is cancelled, and the last to leave waits until it rests.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from callwise.budget.batch_groups import BatchGroup, BatchGroups, BatchSettings
from callwise.budget.batch_rules import (
    end_of_one,
    is_of_unknown_usage,
    merged_reply,
    pieces_of,
    set_apart,
    untimed_call,
)
from callwise.budget.clock import Clock, Timer
from callwise.budget.scope import context_outside_scopes
from callwise.budget.work import Work
from callwise.budget.work_batch import BatchMember, BatchRule, WorkBatch
from callwise.calls.client import Endpoint
from callwise.calls.errors import BatchFailed, CallError, CallRefused, CallTimeout
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.reply import Reply

__all__ = ["BatchLayer"]

PART_OF_TIME_LEFT = 0.25
"""Part of the time until its deadline that a call waits for others at most."""

LEAD_SECONDS = 0.002
"""Time before it is due at which a batch is sent, for what a busy loop and the sending take."""

_Results = Sequence[Reply | CallError]


class _Departure:
    """A batch from its first member to its end.

    Args:
        key: that of its group; None where no other may join.
        latest_seconds: the time at which it is sent at the latest, by the clock.
    """

    __slots__ = (
        "batch",
        "due_seconds",
        "is_due",
        "key",
        "latest_seconds",
        "rings_at_seconds",
        "settings",
        "task",
        "timer",
    )

    def __init__(
        self, batch: WorkBatch, settings: BatchSettings, key: Hashable, latest_seconds: float
    ) -> None:
        self.batch = batch
        self.key = key
        self.settings = settings
        self.due_seconds = self.latest_seconds = self.rings_at_seconds = latest_seconds
        self.is_due = False
        self.timer: Timer | None = None
        self.task: asyncio.Task[None] | None = None

    def stop_timer(self) -> None:
        """Let nothing be due any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class BatchLayer:
    """Collects calls that may travel together, and sends them as one shipment.

    Args:
        load_of: returns the knobs of an endpoint. One without knobs of batches is sent each
            call alone.
        in_flight: returns how many pieces of work are under way, those that wait here included.
    """

    def __init__(
        self,
        clock: Clock,
        load_of: Callable[[Endpoint], LoadKnobs],
        in_flight: Callable[[], int],
        *,
        next: Callable[[Any], Awaitable[Any]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._groups = BatchGroups(load_of)
        self._in_flight = in_flight
        self._next = next
        self._open: dict[Hashable, _Departure] = {}
        self._held: list[_Departure] = []
        self._under_way: Counter[str] = Counter()
        self._answered: WeakKeyDictionary[Work, dict[tuple[str, ...], Reply]] = WeakKeyDictionary()
        self._counts: Counter[str] = Counter()

    def __call__(self, carried: Work) -> Awaitable[Reply]:
        """Return the reply to a call, whichever request brings it.

        Raises:
            CallRefused: when there is no quota for the further requests that a long list needs.
            CallError: how the attempt ended.
        """
        settings = self._groups.settings_of(carried.endpoint)
        if settings is None:
            return self._next(carried)
        if carried.call.is_embedding:
            pieces = pieces_of(carried.call.inputs, settings.limits)
            if len(pieces) > 1:
                return self._in_pieces(carried, pieces, settings)
        group = self._groups.group_of(carried, settings, self._under_way[carried.endpoint.name])
        if group is None:
            return self._alone(carried) if carried.call.is_embedding else self._next(carried)
        return self._together(carried, group, settings)

    def carries(self, work: Work) -> bool:
        """Return whether work may travel with others at the endpoint that it has now."""
        settings = self._groups.settings_of(work.endpoint)
        under_way = self._under_way[work.endpoint.name]
        return settings is not None and (
            self._groups.group_of(work, settings, under_way) is not None
        )

    def statistics(self) -> Mapping[str, int]:
        """Return calls that wait, batches sent, calls in them, and batches that failed."""
        waiting = [each for each in (*self._open.values(), *self._held) if each.task is None]
        names = ("batches", "carried", "failed", "pieces")
        return {
            "waiting": sum(len(each.batch.members) for each in waiting),
            **{name: self._counts[name] for name in names},
        }

    async def _alone(self, work: Work) -> Reply:
        """Return the reply to a list of texts; one that is too long is split next time."""
        try:
            reply: Reply = await self._next(work)
        except CallError as error:
            raise self._with_limit(work.endpoint, len(work.call.inputs), error) from None
        return reply

    def _with_limit(self, endpoint: Endpoint, items: int, error: CallError) -> CallError:
        is_too_long = self._groups.learn_limit(endpoint, items, error)
        return BatchFailed.by(error) if is_too_long else error

    async def _together(self, work: Work, group: BatchGroup, settings: BatchSettings) -> Reply:
        member = BatchMember(work, untimed_call(work, settings.timeout), self._clock.now())
        departure = self._open.get(group.key)
        if departure is None or not departure.batch.has_room_for(member):
            if departure is not None:
                self._depart(departure)
            departure = self._opened(work.endpoint, group, settings)
        batch = departure.batch
        batch.add(member)
        if batch.is_full:
            self._depart(departure)
        elif not departure.is_due:
            self._postpone(departure, member)
        [end] = await self._awaited(work, [(member, departure)])
        if isinstance(end, BaseException):
            raise end
        return end

    def _opened(self, endpoint: Endpoint, group: BatchGroup, settings: BatchSettings) -> _Departure:
        latest_seconds = self._clock.now() + group.rule.max_wait_seconds
        batch = WorkBatch(endpoint, group.rule, self._clock, path=group.path)
        departure = _Departure(batch, settings, group.key, latest_seconds)
        batch.on_sealed = lambda: self._forget(departure)
        self._open[group.key] = departure
        return departure

    def _forget(self, departure: _Departure) -> None:
        """Let no other call join a batch."""
        if self._open.get(departure.key) is departure:
            del self._open[departure.key]

    def _postpone(self, departure: _Departure, member: BatchMember) -> None:
        """Set when a batch is due, now that a member has come."""
        now, rule = member.entered_seconds, departure.batch.rule
        left_seconds = member.work.left_seconds
        if left_seconds is not None:
            latest = now + left_seconds * PART_OF_TIME_LEFT
            departure.latest_seconds = min(departure.latest_seconds, latest)
        window_seconds = rule.window_seconds
        if rule.idle_window_seconds < window_seconds and self._is_idle():
            window_seconds = rule.idle_window_seconds
        departure.due_seconds = min(now + window_seconds, departure.latest_seconds)
        if departure.timer is None or departure.due_seconds < departure.rings_at_seconds:
            self._set_timer(departure)

    def _is_idle(self) -> bool:
        """Return whether every call that is under way waits here for others."""
        waiting = (each.batch.members for each in self._open.values() if not each.is_due)
        return self._in_flight() <= sum(map(len, waiting))

    def _set_timer(self, departure: _Departure) -> None:
        departure.stop_timer()
        departure.rings_at_seconds = departure.due_seconds
        departure.timer = self._clock.call_at(
            departure.due_seconds - LEAD_SECONDS, lambda: self._ring(departure)
        )

    def _ring(self, departure: _Departure) -> None:
        """Send a batch that is due; wait on where a later member has postponed it."""
        departure.timer = None
        if self._clock.now() < departure.due_seconds - LEAD_SECONDS:
            self._set_timer(departure)
        else:
            self._ship(departure)

    def _depart(self, departure: _Departure) -> None:
        """Let no other call join a batch, and send it where that was not done."""
        self._forget(departure)
        if not departure.is_due:
            self._ship(departure)

    def _ship(self, departure: _Departure) -> None:
        """Send a batch, or keep it until another one of its endpoint has ended."""
        departure.is_due = True
        departure.stop_timer()
        name = departure.batch.endpoint.name
        most = departure.settings.limits.concurrent
        if most is not None and self._under_way[name] >= most:
            self._held.append(departure)
            return
        self._under_way[name] += 1
        self._counts["batches"] += 1
        task = departure.task = asyncio.get_running_loop().create_task(
            self._run(departure), context=context_outside_scopes()
        )
        # Not within the task: one that is cancelled before its first step never runs.
        task.add_done_callback(lambda _: self._ship_next(departure))

    async def _run(self, departure: _Departure) -> None:
        batch = departure.batch
        try:
            results: _Results = await self._next(batch)
        except CallRefused as refusal:
            self._refuse(batch, refusal)
        except CallError as error:
            self._end(batch, [error] * len(batch.seal()))
        except asyncio.CancelledError:
            for member in batch.members:
                member.future.cancel()
            raise
        except BaseException as error:
            for member in batch.members:
                if not member.future.done():
                    member.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._end(batch, results)
        finally:
            self._forget(departure)

    def _refuse(self, batch: WorkBatch, refusal: CallRefused) -> None:
        """End the members of a batch that none of them has quota for, each by its own refusal."""
        for member in batch.members:
            if not member.future.done():
                member.future.set_exception(member.refusal or refusal)

    def _ship_next(self, departure: _Departure) -> None:
        """Send a batch that was kept until this one, of the same endpoint, has ended."""
        name = departure.batch.endpoint.name
        self._under_way[name] -= 1
        held = [each for each in self._held if each.batch.endpoint.name == name]
        if held:
            first = min(held, key=lambda each: (each.batch.priority, each.due_seconds))
            self._held.remove(first)
            self._ship(first)

    def _end(self, batch: WorkBatch, results: _Results) -> None:
        """Give each member that is still there its end."""
        members = batch.seal()
        if len(members) > 1:
            results = self._fallen_back(batch, members, results)
        elif isinstance(results[0], CallError):
            results = [self._with_limit(batch.endpoint, members[0].items, results[0])]
        for member, result in zip(members, results, strict=True):
            if member.future.done():
                continue
            if isinstance(result, Reply):
                member.future.set_result(result)
            else:
                member.future.set_exception(result)

    def _fallen_back(
        self, batch: WorkBatch, members: Sequence[BatchMember], results: _Results
    ) -> _Results:
        """Return the results of several members, with what their next attempts travel with."""
        self._counts["carried"] += len(members)
        ends: list[Reply | CallError] = []
        failed: list[BatchMember] = []
        for member, result in zip(members, results, strict=True):
            delivery = member.work.delivery
            if isinstance(result, Reply):
                delivery = delivery._replace(
                    batch=batch.id, batch_size=len(members), is_apportioned=True
                )
                ends.append(result)
            else:
                end, is_apart = end_of_one(result, is_chat=batch.path is not None)
                if is_apart and not member.future.done():
                    failed.append(member)
                if end.usage is not None or (member.was_sent and is_of_unknown_usage(end)):
                    delivery = delivery._replace(is_apportioned=True)
                ends.append(end)
            if not member.future.done():
                member.work.delivery = delivery
        if failed:
            self._counts["failed"] += 1
            self._groups.learn(batch, results)
            set_apart(failed, batch)
        return ends

    async def _awaited(
        self, work: Work, places: Sequence[tuple[BatchMember, _Departure]]
    ) -> list[Reply | BaseException]:
        """Return the end of each member of one work, or leave its batches at its deadline.

        The last to leave a batch cancels its request, and waits until that rests: until then it
        belongs to the batch, so that a request that has left is counted.

        Raises:
            CallTimeout: at the deadline of the work.
        """
        futures = [member.future for member, _ in places]
        waiting = set(futures)
        try:
            _, waiting = await asyncio.wait(futures, timeout=work.left_seconds)
        finally:
            rests = [
                self._leave(member, departure)
                for member, departure in places
                if member.future in waiting
            ]
            tasks = [task for task in rests if task is not None]
            if tasks:
                await asyncio.wait(tasks)
        if waiting:
            work.is_cut_by_deadline = True
            raise CallTimeout(
                "no answer before the deadline",
                was_sent=any(member.was_sent for member, _ in places),
                latency_seconds=work.left_seconds or 0.0,
            )
        return [future.exception() or future.result() for future in futures]

    def _leave(self, member: BatchMember, departure: _Departure) -> asyncio.Task[None] | None:
        """Let a batch go without a member. Return its task, where that was cancelled."""
        batch, task = departure.batch, departure.task
        member.future.cancel()
        if len(batch.members) > 1:
            refusal = batch.remove(member)
            if refusal is None:
                return None
            self._refuse(batch, refusal)
        departure.stop_timer()
        self._forget(departure)
        if departure in self._held:
            self._held.remove(departure)
        return task if task is not None and task.cancel() else None

    async def _in_pieces(
        self, work: Work, pieces: Sequence[tuple[str, ...]], settings: BatchSettings
    ) -> Reply:
        """Return the reply to a list of texts that takes several requests, merged in order."""
        answered = self._answered.setdefault(work, {})
        missing = [piece for piece in pieces if piece not in answered]
        refusal = work.reserve_next_request() or work.reserve_requests(len(missing) - 1)
        if refusal is not None:
            raise refusal
        self._counts["pieces"] += len(missing)
        rule = BatchRule(1, None, 0.0, 0.0, 0.0)
        places = []
        for piece in missing:
            batch = WorkBatch(work.endpoint, rule, self._clock, path=None)
            call = replace(work.outgoing_call, inputs=piece)
            member = BatchMember(work, call, self._clock.now())
            batch.add(member)
            places.append((member, _Departure(batch, settings, None, 0.0)))
        for _, departure in places:
            self._ship(departure)
        ends = await self._awaited(work, places)
        return merged_reply(pieces, answered, list(zip(missing, ends, strict=True)))
