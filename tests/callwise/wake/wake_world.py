"""Agents in virtual time: clients that log each request, a store, a budgeter and a service."""

import asyncio
import inspect

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.calls import Endpoint, Prices, Reply, ReportedUsage, Role
from callwise.calls.errors import CallError
from callwise.calls.payload import body_bytes
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.wake import Agent, WakeKnobs, WakeService, WakeSettings, WakeStore, run_wakes

__all__ = [
    "HOUR",
    "START",
    "Listener",
    "LoggedClient",
    "World",
    "everyone",
    "five_agents",
    "material_of",
]

START = 1_800_000_000.0
"""The wall's time when the loop's is 0: an hour of UTC."""

HOUR = 3600.0


class LoggedClient:
    """A client that logs each request: its time, its model and its conversations as bodies.

    Args:
        answer: a function, maybe async, of a call and its model that returns a text or an error;
            or a client that answers.
        seconds: time of each answer of a function.
    """

    is_simulated = True

    def __init__(self, answer, seconds=0.5):
        self.answer_of = answer
        self.seconds = seconds
        self.requests = []
        self.calls = []

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call."""
        self._log(calls, model, "/chat/completions")
        if not callable(self.answer_of):
            return await self.answer_of.answer(calls, model=model, on_sent=on_sent)
        if on_sent is not None:
            on_sent(0)
        return [await self._one(call, model) for call in calls]

    async def answer_conversations(self, calls, *, model, path, on_sent=None):
        """Answer conversations as one request."""
        self._log(calls, model, path)
        if not callable(self.answer_of):
            return await self.answer_of.answer_conversations(
                calls, model=model, path=path, on_sent=on_sent
            )
        if on_sent is not None:
            on_sent()
        return list(await asyncio.gather(*(self._one(call, model) for call in calls)))

    async def aclose(self):
        """Do nothing."""

    async def _one(self, call, model):
        await asyncio.sleep(self.seconds)
        answer = self.answer_of(call, model)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, CallError | Reply):
            return answer
        return Reply(answer, usage=ReportedUsage(100, 10), model=model, finish_reason="stop")

    def _log(self, calls, model, path):
        bodies = [body_bytes(chat_body(call, model=model)) for call in calls]
        time = asyncio.get_running_loop().time()
        self.requests.append((time, path, model, bodies))
        self.calls.extend(calls)

    def bodies(self, *models):
        """Return the bodies that were sent to some models, in the order of the requests."""
        return [
            body
            for _, _, model, bodies in self.requests
            if not models or model in models
            for body in bodies
        ]


def everyone(call, model):
    """Return an answer that wakes everyone, or a reply that names the agent."""
    if call.role is Role.FAST:
        return '{"wake_list": [], "everyone": true}'
    return f"I am {material_of(call)['name']}."


def material_of(call):
    """Return the material of a call's prompt."""
    import orjson

    return orjson.loads(call.messages[-1].content)


def five_agents():
    """Return three agents of one model and two of another."""
    models = {"alice": "dsv3", "bob": "dsv3", "carol": "dsv3", "dan": "qwen32b", "eve": "qwen32b"}
    return [
        Agent(id=name, name=name.title(), persona=f"{name} has a boat.", model=model)
        for name, model in models.items()
    ]


class Listener:
    """Keeps what it receives."""

    def __init__(self):
        self.messages, self.reports = [], []

    def on_message(self, message):
        """Keep a message."""
        self.messages.append(message)

    def on_wake(self, report):
        """Keep a report."""
        self.reports.append(report)


class World:
    """All of one wake service, in the loop of virtual time that it is made in.

    Args:
        answer: see `LoggedClient`; None for the simulated model, whose intent wakes everyone.
        models: names of the endpoints, besides that of the fast role.
        knobs: of the wake, as words.
    """

    def __init__(
        self,
        agents,
        *,
        answer=None,
        models=("dsv3", "qwen32b"),
        store=None,
        load=None,
        brought=None,
        **knobs,
    ):
        if answer is None:
            settings = SimulatedSettings(boolean_true_rate=1.0)
            answer = SimulatedClient(settings, sleep=asyncio.sleep)
        self.agents = agents
        self.client = answer if isinstance(answer, LoggedClient) else LoggedClient(answer)
        self.knobs = WakeKnobs(**knobs)
        self.store = store or WakeStore(":memory:")
        served = {
            name: Endpoint(name, name, self.client, Prices(1.0, 2.0)) for name in ("fast", *models)
        }
        served[Role.FAST] = served.pop("fast")
        self.budgeter = Budgeter(served, clock=LoopClock(), load=self.knobs.load(load))
        loop = asyncio.get_running_loop()
        self.wall = lambda: START + loop.time()
        self.service = WakeService(
            agents, self.store, self.budgeter, self.knobs, wall=self.wall, memory=brought
        )

    async def run(self, *, messages=(), **options):
        """Run hours with the world's agents, and return the listener."""
        listener = Listener()
        settings = WakeSettings(
            models={agent.model: {} for agent in self.agents},
            agents=self.agents,
            wake=self.knobs,
            messages=messages,
        )
        await run_wakes(
            settings,
            self.store,
            self.budgeter,
            listener,
            **{"clock": LoopClock(), "wall": self.wall, "count": 1, **options},
        )
        self.check()
        return listener

    async def wake(self, hour=0):
        """Wait for an hour, wake, and check that ledger and credits add up."""
        await asyncio.sleep(max(START + hour * HOUR - self.wall(), 0.0))
        report = await self.service.wake(START + hour * HOUR)
        self.check()
        return report

    def check(self):
        """Check that every call has one row, that credits sum to 0, and that none stay held."""
        self.budgeter.ledger.check()
        assert self.store.credits.total() == 0
        assert self.store.credits.open_holds() == []

    def balance(self, agent):
        """Return the credits of an agent."""
        return self.store.credits.balance(agent)

    def delivered(self, at=None):
        """Return author and text of all messages that are due, the newest last."""
        self.store.rooms.deliver_due(self.wall() + 60 if at is None else at)
        return [(each.author, each.text) for each in self.store.rooms.messages(self.knobs.room)]
