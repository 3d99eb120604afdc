"""A message that mentions an agent while a large wake is under way: its call waits for no batch."""

import asyncio

import orjson
import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.errors import UnknownModel
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.wake import Agent, WakeKnobs
from tests.callwise.wake.wake_world import LoggedClient, World, everyone

SECONDS = 2.0
"""Time of each answer."""


class WithoutRoute(LoggedClient):
    """A client whose endpoint has no route for lists of conversations."""

    async def answer_conversations(self, calls, *, model, path, on_sent=None):
        """Refuse them."""
        self._log(calls, model, path)
        if on_sent is not None:
            on_sent()
        return [UnknownModel(f"no route {path}", status=404) for _ in calls]


class Mentioned:
    """A wake of 300 agents, and messages that mention the first of them while it goes on.

    Attributes:
        waits: seconds from each message to its request and to its reply.
        most_batches: most requests for several agents under way at one model.
        woken_seconds: time of the wake.
    """

    def __init__(self, load=None, *, models=1, times=(4.5,), kind=LoggedClient, **knobs):
        self.client = kind(everyone, SECONDS)
        self.models = tuple(f"m{number}" for number in range(models))
        self.agents = [Agent(id=f"a{i}", persona="p", model=f"m{i % models}") for i in range(300)]
        self.load, self.times, self.knobs = load, times, {"batch_size": 10, **knobs}
        self.waits = []
        run_in_virtual_time(self._main())

    async def _main(self):
        loop = asyncio.get_running_loop()
        world = World(
            self.agents, answer=self.client, models=self.models, load=self.load, **self.knobs
        )

        async def say(at, number):
            await asyncio.sleep(at)
            report = await world.service.say("Mia", "@a0 hello", id=f"m{number}")
            assert [each.outcome for each in report.replies] == ["published"]
            return loop.time()

        async def wake():
            report = await world.wake()
            assert {each.outcome for each in report.replies} == {"published"}
            return loop.time()

        saying = [say(at, number) for number, at in enumerate(self.times)]
        self.woken_seconds, *answered = await asyncio.gather(wake(), *saying)
        world.check()
        sent = [time for time, *_, bodies in self.client.requests if self._is_mention(bodies)]
        for at, sent_at, answered_at in zip(self.times, sent, answered, strict=True):
            self.waits.append((round(sent_at - at, 3), round(answered_at - at, 3)))
        self.most_batches = max(
            sum(model == other and time <= at < time + SECONDS for at, other in self._batches())
            for time, model in self._batches()
        )

    def _batches(self):
        found = self.client.requests
        return [(time, model) for time, _, model, bodies in found if len(bodies) > 1]

    @staticmethod
    def _is_mention(bodies):
        material = orjson.loads(orjson.loads(bodies[0])["messages"][-1]["content"])
        return material["task"]["event"] == "message"


def scheduled(**knobs):
    """Return a run's load with a schedule."""
    return LoadKnobs(schedule=ScheduleKnobs(**knobs))


def test_by_default_four_batches_are_under_way_and_a_mention_is_sent_immediately():
    """30 batches of one model take eight rounds, and a message none of them."""
    found = Mentioned(times=(4.5, 5.0, 7.5))
    assert found.most_batches == 4
    assert found.waits == [(0.0, SECONDS)] * 3
    assert found.woken_seconds == pytest.approx(SECONDS + 8 * SECONDS)  # the intent first


@pytest.mark.parametrize(
    ("load", "models", "most"),
    [
        (scheduled(max_concurrency=2), 1, 1),
        (scheduled(), 1, 4),
        (scheduled(max_concurrency=4, max_tasks=4), 3, 3),
        (scheduled(), 5, 4),
        (LoadKnobs(profile="conservative"), 3, 4),
    ],
    ids=["two slots", "five slots", "four slots in all", "ten slots in all", "a profile"],
)
def test_with_a_schedule_a_slot_is_kept_at_the_endpoint_and_in_the_run(load, models, most):
    """Batches wait for each other; what a person waits for does not wait for them."""
    found = Mentioned(load, models=models)
    assert found.waits == [(0.0, SECONDS)]
    assert found.most_batches <= most


def test_without_a_kept_slot_a_mention_waits_for_a_batch_to_end():
    """That is the run's own choice; it is still the next one to go."""
    found = Mentioned(scheduled(max_concurrency=2, critical_slots=0))
    ((sent, answered),) = found.waits
    assert 0.0 < sent <= SECONDS
    assert answered == pytest.approx(sent + SECONDS)
    assert found.most_batches == 2


def test_an_endpoint_with_one_slot_serves_a_mention_next():
    """Before 28 batches that wait, once the one under way has ended."""
    found = Mentioned(scheduled(max_concurrency=1))
    ((sent, answered),) = found.waits
    assert 0.0 < sent <= SECONDS
    assert answered == pytest.approx(sent + SECONDS)


def test_without_a_route_for_batches_a_mention_is_sent_before_hundreds_of_single_calls():
    """Each reply is a request, and waits for a slot that is not kept."""
    found = Mentioned(scheduled(), kind=WithoutRoute, times=(9.5,))
    assert found.waits == [(0.0, SECONDS)]


def test_the_load_of_a_run_goes_before_what_a_wake_keeps_free():
    """What it sets stays; what it does not is set where replies share requests."""
    wake = WakeKnobs()
    assert wake.load().batch.max_concurrent == 4
    assert wake.load().schedule is None
    own = LoadKnobs(batch=BatchKnobs(max_concurrent=9, embedding_size=7))
    assert wake.load(own).batch.limits().concurrent == 9
    assert wake.load(own).batch.embedding_size == 7
    named = LoadKnobs(batch=BatchKnobs(profile="groq"))
    assert wake.load(named).batch.limits().concurrent == 20
    load = wake.load(scheduled(max_concurrency=7))
    assert (load.schedule.max_concurrency, load.schedule.critical_slots) == (7, 1)
    assert load.batch.max_concurrent is None
    assert wake.load(scheduled(critical_slots=3)).schedule.critical_slots == 3
    assert wake.load(scheduled(critical_slots=0)).schedule.critical_slots == 0
    assert WakeKnobs(variant="mixed").load(LoadKnobs(schedule=ScheduleKnobs())) == scheduled()
