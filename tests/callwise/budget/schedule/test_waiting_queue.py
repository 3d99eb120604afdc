"""The waiting queue: class, due time, arrival, age, and what is cancelled or raised."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.schedule.waiting_queue import WaitingEntry, WaitingQueue
from callwise.calls import Priority


def entry(priority=Priority.NORMAL, *, due=math.inf, since=0.0, ends=None):
    """Return an entry."""
    return WaitingEntry(priority, due, since, ends)


def drained(queue, now=0.0):
    """Return all entries in the order of their turns."""
    taken = []
    while (head := queue.peek(now)) is not None:
        queue.take(head)
        taken.append(head)
    return taken


def test_a_higher_class_goes_first_then_the_earlier_due_time_then_the_earlier_arrival():
    """Due times count within a class alone."""
    low, late, early, first, second = (
        entry(Priority.LOW, due=1.0),
        entry(Priority.HIGH, due=9.0),
        entry(Priority.HIGH, due=2.0),
        entry(Priority.NORMAL, due=5.0),
        entry(Priority.NORMAL, due=5.0),
    )
    queue = WaitingQueue()
    for each in (low, late, first, early, second):
        queue.enqueue(each)
    assert drained(queue) == [early, late, first, second, low]


def test_an_aged_entry_gets_one_turn_in_so_many_whatever_the_flood():
    """5,000 aged background entries take 1 of 20 turns from a class that is never empty."""
    queue = WaitingQueue(aged_every=20)
    for _ in range(5_000):
        queue.enqueue(entry(Priority.BACKGROUND, since=0.0))
    taken = []
    for step in range(400):
        queue.enqueue(entry(Priority.CRITICAL, due=100.0 + step, since=100.0))
        head = queue.peek(100.0)
        queue.take(head)
        taken.append(head.priority)
    assert taken.count(Priority.BACKGROUND) == 20
    assert [taken.index(Priority.BACKGROUND), len(queue)] == [19, 5_000]


@pytest.mark.parametrize(
    ("waited", "passes"), [(4.9, False), (5.0, False), (5.9, False), (6.0, True), (9.0, True)]
)
def test_each_boost_raises_an_entry_by_one_class(waited, passes):
    """A low one counts as normal after 5 s and as high after 6 s; then it competes with those."""
    queue = WaitingQueue(aged_every=1)
    old = entry(Priority.LOW, since=0.0)
    head = entry(Priority.HIGH, due=waited, since=waited)
    queue.enqueue(old)
    queue.enqueue(head)
    assert (queue.peek(waited) is old) is passes


def test_any_boost_and_age_can_be_counted():
    """The shortest boost that there is raises an entry to the highest class."""
    queue = WaitingQueue(ageing_seconds=5e-324, boost_seconds=5e-324, aged_every=1)
    old, urgent = entry(Priority.BACKGROUND), entry(Priority.CRITICAL, since=1.0)
    queue.enqueue(old)
    queue.enqueue(urgent)
    assert drained(queue, now=1e9) == [old, urgent]


def test_a_near_deadline_goes_ahead_of_an_aged_entry_but_not_for_ever():
    """Deadlines within the time of ageing put it off ten times as long at most."""
    queue = WaitingQueue(aged_every=2)
    queue.enqueue(entry(Priority.BACKGROUND, since=0.0))
    turns = 0
    while True:
        turns += 1
        queue.enqueue(entry(Priority.HIGH, due=101.0, since=100.0, ends=101.0))
        head = queue.peek(100.0)
        queue.take(head)
        if head.priority is Priority.BACKGROUND:
            break
    assert turns == 21


def test_a_raised_entry_goes_by_its_new_class_and_due_time():
    """It is never lowered, and its old place counts no more."""
    queue = WaitingQueue()
    first, second = entry(Priority.LOW, due=5.0), entry(Priority.LOW, due=9.0)
    queue.enqueue(first)
    queue.enqueue(second)
    queue.raise_urgency(second, Priority.LOW, 4.0)
    queue.raise_urgency(second, Priority.BACKGROUND, 50.0)
    assert queue.peek(0.0) is second
    queue.raise_urgency(first, Priority.CRITICAL, 5.0)
    assert [queue.count(priority) for priority in Priority] == [1, 0, 0, 1, 0]
    assert drained(queue) == [first, second]


def test_the_newest_of_the_lowest_class_is_the_one_to_shed():
    """Those that were raised to the class go last."""
    queue = WaitingQueue()
    entries = [entry(Priority(priority)) for priority in (3, 1, 3, 4)]
    for each in entries:
        queue.enqueue(each)
    assert queue.lowest() is entries[3]
    queue.remove(entries[3])
    assert queue.lowest() is entries[2]
    queue.raise_urgency(entries[2], Priority.HIGH, math.inf)
    assert queue.lowest() is entries[0]
    queue.raise_urgency(entries[0], Priority.HIGH, math.inf)
    assert queue.lowest() is entries[1]
    queue.remove(entries[1])
    assert queue.lowest() is entries[2]
    assert WaitingQueue().lowest() is None


def test_an_entry_that_is_put_back_has_its_old_place():
    """Its age, its due time and its arrival are as they were."""
    queue = WaitingQueue()
    entries = [entry(since=float(index)) for index in range(3)]
    for each in entries:
        queue.enqueue(each)
    queue.remove(entries[0])
    queue.enqueue(entries[0])
    assert drained(queue) == entries


def test_what_is_gone_does_not_pile_up():
    """A long-lived entry ahead of a hundred thousand others leaves no trace of them."""
    queue = WaitingQueue()
    queue.enqueue(entry(Priority.NORMAL, since=0.0))
    for index in range(20_000):
        queue.enqueue(entry(Priority.NORMAL, due=1.0, since=float(index)))
        queue.take(queue.peek(0.0))
    assert len(queue) == 1
    assert len(queue._heaps[Priority.NORMAL]) + len(queue._by_age[Priority.NORMAL]) < 300


class Model:
    """The rules of the queue without ageing, on a list."""

    def __init__(self):
        self.entries = []

    def first(self):
        """Return the entry that goes next."""
        return min(
            self.entries,
            key=lambda each: (each.priority, each.due_seconds, each.sequence),
            default=None,
        )


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 300))
def test_any_sequence_of_changes_leaves_the_order_of_the_rules(seed, steps):
    """Enqueue, take, remove, raise and put back, against a sorted list."""
    chance = random.Random(seed)
    queue, model, gone = WaitingQueue(ageing_seconds=math.inf), Model(), []
    for _ in range(steps):
        match chance.choice(("add", "add", "take", "remove", "raise", "back")):
            case "add":
                new = entry(Priority(chance.randrange(5)), due=float(chance.randrange(5)))
                queue.enqueue(new)
                model.entries.append(new)
            case "take":
                head = queue.peek(0.0)
                assert head is model.first()
                if head is not None:
                    queue.take(head)
                    model.entries.remove(head)
            case "remove" if model.entries:
                victim = chance.choice(model.entries)
                queue.remove(victim)
                queue.remove(victim)
                model.entries.remove(victim)
                gone.append(victim)
            case "raise" if model.entries:
                raised = chance.choice(model.entries)
                queue.raise_urgency(raised, Priority(chance.randrange(5)), chance.randrange(5))
            case "back" if gone:
                returned = gone.pop(chance.randrange(len(gone)))
                queue.enqueue(returned)
                model.entries.append(returned)
        assert len(queue) == len(model.entries)
        assert [queue.count(each) for each in Priority] == [
            sum(entry.priority is each for entry in model.entries) for each in Priority
        ]
    assert len(drained(queue)) == len(model.entries)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_entry_has_its_turn_whatever_comes(seed):
    """With ageing, an entry of the lowest class goes within the turns of those ahead of it."""
    chance = random.Random(seed)
    queue = WaitingQueue(aged_every=5)
    olds = [entry(Priority(chance.randrange(1, 5)), since=0.0) for _ in range(8)]
    for each in olds:
        queue.enqueue(each)
    for turn in range(200):
        now = turn * 1.0
        queue.enqueue(entry(Priority(chance.randrange(2)), due=now + chance.random(), since=now))
        queue.take(queue.peek(now))
    assert all(each.queue is None for each in olds)
