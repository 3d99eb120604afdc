"""Wakes of many agents: requests, prompts, secrets, failures, credits, repeats and delays."""

import asyncio
import re
from collections import Counter

import orjson
import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Priority, Reply, Role
from callwise.calls.errors import ConfigError, ServerFailed
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.memory.memory_errors import StoreFailed
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.service_limits import SimulatedLimits
from callwise.wake import Agent, OutgoingMessage, WakeStore
from tests.callwise.wake.wake_world import (
    HOUR,
    START,
    LoggedClient,
    World,
    everyone,
    five_agents,
    material_of,
)


def in_world(agents, steps, **options):
    """Return what steps of a world return, in virtual time."""

    async def main():
        world = World(agents, **options)
        result = await steps(world)
        world.check()
        return result

    return run_in_virtual_time(main())


def outcomes(report):
    """Return the outcome of each agent of a report."""
    return {reply.agent: reply.outcome for reply in report.replies}


def day(variant):
    """Return the world after 24 wakes of five agents, and the reports."""

    async def steps(world):
        return world, [await world.wake(hour) for hour in range(24)]

    return in_world(five_agents(), steps, variant=variant)


# Requests, and the same prompts in all of them.


def test_five_agents_of_two_models_are_three_requests_per_hour():
    """One of the intent and one per model; 24 and 48 per day, counted where they arrive."""
    world, reports = day("server_batch")
    assert {(report.calls, report.requests) for report in reports} == {(6, 3)}
    assert {report.intent for report in reports} == {"answered"}
    sent = Counter(model for _, _, model, _ in world.client.requests)
    assert sent == {"fast": 24, "dsv3": 24, "qwen32b": 24}
    sizes = {model: len(bodies) for _, _, model, bodies in world.client.requests}
    assert sizes == {"fast": 1, "dsv3": 3, "qwen32b": 2}
    counts = world.budgeter.ledger.counts()
    assert counts.usage.requests == sum(report.requests for report in reports) == 72
    assert counts.usage.tokens == sum(report.tokens for report in reports)
    assert counts.usage.usd == pytest.approx(sum(report.usd for report in reports))
    assert {reply.outcome for report in reports for reply in report.replies} == {"published"}
    assert len(world.delivered(START + 25 * HOUR)) == 24 * 5


def test_replies_apart_have_the_same_prompts_and_texts():
    """Byte for byte over a day: a batch is transport alone."""
    together, reports = day("server_batch")
    apart, others = day("mixed")
    assert {(report.calls, report.requests) for report in others} == {(6, 6)}
    assert Counter(together.client.bodies()) == Counter(apart.client.bodies())
    assert [report.woken for report in reports] == [report.woken for report in others]

    def texts(reports):
        return [(each.message_id, each.text) for report in reports for each in report.replies]

    assert texts(reports) == texts(others)


def test_agents_alone_are_asked_each_for_itself():
    """Five requests without an intent call; who has nothing to say is silent, and pays nothing."""

    def answer(call, model):
        speaks = material_of(call)["name"] != "Bob"
        return orjson.dumps({"speaks": speaks, "reply": "Hello." if speaks else ""}).decode()

    async def steps(world):
        return world, await world.wake()

    world, report = in_world(five_agents(), steps, answer=answer, variant="agents_alone")
    assert (report.intent, report.calls, report.requests) == ("not asked", 5, 5)
    assert [len(bodies) for *_, bodies in world.client.requests] == [1] * 5
    assert outcomes(report).pop("bob") == "silent"
    assert Counter(outcomes(report).values()) == {"published": 4, "silent": 1}
    assert (world.balance("alice"), world.balance("bob")) == (999, 1000)


def test_an_agent_whose_answer_is_thoughts_alone_is_silent():
    """In tags or as a server sets them apart; it pays nothing. Thoughts are not published."""

    def answer(call, model):
        if call.role is Role.FAST:
            return everyone(call, model)
        name = material_of(call)["name"]
        if name == "Bob":
            return Reply("secret plan", reasoning_text="secret plan", model=model)
        return "<think>secret plan</think>" + ("" if name == "Alice" else "hello")

    async def steps(world):
        return world, await world.wake()

    world, report = in_world(five_agents(), steps, answer=answer)
    found = outcomes(report)
    assert [found.pop(name) for name in ("alice", "bob")] == ["silent"] * 2
    assert set(found.values()) == {"published"}
    assert (world.balance("alice"), world.balance("bob")) == (1000, 1000)
    assert {each.text for each in report.replies} == {"", "hello"}


def test_batches_are_full_where_agents_are_many():
    """Agents of a model travel together although they are not next to each other."""
    agents = [Agent(id=f"a{i}", persona="p", model=f"m{i % 3}") for i in range(250)]

    async def steps(world):
        return world, await world.wake()

    options = {"answer": everyone, "models": ("m0", "m1", "m2"), "batch_size": 40}
    world, report = in_world(agents, steps, **options)
    sizes = Counter((model, len(bodies)) for _, _, model, bodies in world.client.requests)
    assert sizes == {
        ("fast", 1): 1,
        **{(f"m{i}", 40): 2 for i in range(3)},
        ("m0", 4): 1,
        ("m1", 3): 1,
        ("m2", 3): 1,
    }
    assert report.requests == 10
    assert report.woken == tuple(agent.id for agent in agents)


# Secrets.


@pytest.mark.parametrize("variant", ["server_batch", "mixed", "agents_alone"])
def test_no_secret_of_an_agent_is_in_a_request_for_another(variant):
    """Persona, memory and notes of 200 agents, in every body of two wakes; its own always."""
    agents = [
        Agent(
            id=f"a{i}",
            persona=f"A sailor. persona-secret-{i}-x",
            memory=(f"The boat is memory-secret-{i}-x",),
            model=f"m{i % 4}",
        )
        for i in range(200)
    ]

    def answer(call, model):
        if variant == "agents_alone":
            return '{"speaks": true, "reply": "The boat sails."}'
        return everyone(call, model) if call.role is Role.FAST else "The boat sails."

    async def steps(world):
        for i in range(200):
            world.store.notes.add(f"a{i}", f"about the boat: note-secret-{i}-x", at=START)
        world.store.rooms.say("main", "Zoe", "Where is the boat?", id="z", at=START)
        await world.wake(0)
        await world.wake(1)
        await world.service.say("Zoe", "@a7 and @a8: where is the boat?", id="y")
        world.check()
        return world

    options = {"models": tuple(f"m{i}" for i in range(4)), "answer": answer}
    world = in_world(agents, steps, variant=variant, **options)
    asked = Counter()
    for body in world.client.bodies():
        messages = orjson.loads(body)["messages"]
        material = orjson.loads(messages[-1]["content"])
        found = {part for part in body.decode().replace('"', " ").split() if "-secret-" in part}
        secrets = {part.strip("\\,.:]}[") for part in found}
        if "persona" not in material:
            assert not secrets  # the intent call
            continue
        number = material["name"].removeprefix("a")
        kinds = ("persona", "memory", "note")
        assert secrets == {f"{kind}-secret-{number}-x" for kind in kinds}
        asked[number] += 1
    assert len(asked) == 200
    assert asked["7"] == asked["8"] == 3


# Failures of one agent.


class FailingStore(WakeStore):
    """A store that fails for one agent's message or memory."""

    def __init__(self, *, publish="", search=""):
        super().__init__(":memory:")
        self._fails = publish
        find = self.notes.find

        def failing(agent, query, **options):
            if agent == search:
                raise RuntimeError("the index is gone")
            return find(agent, query, **options)

        self.notes.find = failing

    def publish(self, message, **fields):
        """Publish a message, or fail."""
        if message.author == self._fails:
            raise StoreFailed("the disk is full. Nothing was committed.")
        return super().publish(message, **fields)


def _failing_call(call, model):
    if call.role is not Role.FAST and material_of(call)["name"] == "Bob":
        return ServerFailed("internal error", status=500)
    return everyone(call, model)


def _empty_answer(call, model):
    if call.role is not Role.FAST and material_of(call)["name"] == "Bob":
        return ""
    return everyone(call, model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("model", "UnknownRole: .*'nowhere'.*dsv3"),
        ("credits", "it has 0 credits, and a message costs 1"),
        ("call", "ServerFailed: .*internal error"),
        ("empty", "EmptyAnswer"),
        ("publish", "StoreFailed: the disk is full"),
        ("search", "RuntimeError: the index is gone"),
    ],
)
@pytest.mark.parametrize("variant", ["server_batch", "mixed"])
def test_a_failure_of_one_agent_harms_no_other(change, reason, variant):
    """Its outcome has the reason, and its credits are as before; the others' are published."""
    agents = five_agents()
    answers = {"call": _failing_call, "empty": _empty_answer}
    store = FailingStore(**({change: "bob"} if change in {"publish", "search"} else {}))
    if change == "model":
        agents[1] = agents[1].model_copy(update={"model": "nowhere"})

    async def steps(world):
        if change == "credits":
            store.credits.grant("bob", 1000, transfer_id="start:bob")
            assert store.credits.hold("earlier", "bob", 1000)
            assert store.publish(_message("earlier", "bob"))
        return world, await world.wake()

    options = {"answer": answers.get(change, everyone), "store": store, "variant": variant}
    world, report = in_world(agents, steps, **options)
    found = outcomes(report)
    assert found.pop("bob") == ("no credits" if change == "credits" else "failed")
    assert set(found.values()) == {"published"}
    assert list(found) == ["alice", "carol", "dan", "eve"]
    [bob] = [reply for reply in report.replies if reply.agent == "bob"]
    assert bob.text == ""
    assert re.match(reason, bob.reason), bob.reason
    assert (report.usd is None) == (change == "call")  # what a failed request has used is unknown
    assert world.balance("bob") == (0 if change == "credits" else 1000)
    assert {world.balance(each) for each in found} == {999}


def _message(message_id, author):
    from callwise.wake import OutgoingMessage

    return OutgoingMessage(message_id, "other", author, "text", START)


def test_a_fatal_error_of_one_model_leaves_the_other_model_alone():
    """A wrong key for one model is no reason to drop the replies of another."""
    from callwise.calls.errors import AuthFailed

    def answer(call, model):
        return AuthFailed("no", status=401) if model == "qwen32b" else everyone(call, model)

    async def steps(world):
        return await world.wake()

    report = in_world(five_agents(), steps, answer=answer)
    assert Counter(outcomes(report).values()) == {"published": 3, "failed": 2}


def test_a_bug_of_a_client_ends_the_request_and_no_other(caplog):
    """It is logged with its traceback; the other model's replies come."""

    def answer(call, model):
        if model == "qwen32b":
            raise ZeroDivisionError("a bug")
        return everyone(call, model)

    async def steps(world):
        return await world.wake()

    report = in_world(five_agents(), steps, answer=answer)
    assert Counter(outcomes(report).values()) == {"published": 3, "failed": 2}
    assert report.replies[-1].reason == "ZeroDivisionError: a bug"
    assert "a bug" in caplog.text


# Bad input.


def intent_of(text):
    """Return an answering function whose intent answer is a text or an error."""

    def answer(call, model):
        return text if call.role is Role.FAST else everyone(call, model)

    return answer


def named(*entries):
    """Return an intent answer with these values as agents."""
    return orjson.dumps(
        {"wake_list": [{"agent": each, "reason": "r"} for each in entries]}
    ).decode()


@pytest.mark.parametrize(
    ("answer", "woken", "intent", "dropped"),
    [
        ("I would wake Alice.", ["alice"], "fallback: InvalidAnswer", {}),
        ("[" * 100_000, ["alice"], "fallback: InvalidAnswer", {}),
        ('{"wake_list": "all of them"}', ["alice"], "fallback: InvalidAnswer", {}),
        (ServerFailed("no", status=500), ["alice"], "fallback: ServerFailed", {}),
        ("", ["alice"], "fallback: EmptyAnswer", {}),
        ('{"wake_list": []}', [], "answered", {}),
        (named("eve", "bob"), ["eve", "bob"], "answered", {}),
        (named("mallory"), ["alice"], "fallback: the answer names no agent", {"unknown": 1}),
        (
            named("bob", "mallory", "bob", "x" * 100_000, "'; DROP TABLE outbox; --"),
            ["bob"],
            "answered",
            {"unknown": 3, "repeated": 1},
        ),
        (
            named("bob", "../../etc/passwd", 'a"b', "eve\r\nERROR forged", "<script>"),
            ["bob"],
            "answered",
            {"unknown": 4},
        ),
        (named("bob", "x" * 1_000_000), ["alice"], "fallback: InvalidAnswer", {}),
        (named("bob", 7, None, ["eve", "bob"]), ["bob"], "answered", {"not a text": 3}),
    ],
)
def test_what_an_intent_answers_is_a_list_of_known_agents(answer, woken, intent, dropped):
    """Anything else in it is dropped and counted; an answer that cannot be read falls back."""

    async def steps(world):
        return await world.wake()

    report = in_world(five_agents(), steps, answer=intent_of(answer))
    assert list(report.woken) == woken
    assert report.intent.startswith(intent)
    assert dict(report.dropped) == dropped
    assert all(outcome == "published" for outcome in outcomes(report).values())
    assert report.intent.isprintable()
    assert len(report.intent) < 500


def test_an_intent_that_wakes_everyone_wakes_no_more_than_the_limit():
    """Those that its list names come first, and the others are counted."""

    async def steps(world):
        return await world.wake()

    text = '{"wake_list": [{"agent": "eve", "reason": "a\\nline"}], "everyone": true}'
    report = in_world(five_agents(), steps, answer=intent_of(text), max_awake=3)
    assert report.woken == ("eve", "alice", "bob")
    assert dict(report.dropped) == {"over max_awake": 2}
    assert report.replies[0].reason == "a line"


def test_without_quota_the_agents_that_were_mentioned_wake():
    """Else the one that has spoken least recently, hour by hour; no intent call is asked."""

    async def steps(world):
        woken = [(await world.wake(hour)).woken for hour in range(3)]
        world.store.rooms.say("main", "Zoe", "@dan, @Alice?", id="z", at=world.wall())
        report = await world.wake(3)
        return world, [*woken, report.woken], report.intent

    world, woken, intent = in_world(five_agents(), steps, answer=everyone, intent_daily_calls=0)
    assert woken == [("alice",), ("bob",), ("carol",), ("alice", "dan")]
    assert intent == "fallback: no quota"
    assert "fast" not in {model for _, _, model, _ in world.client.requests}


def test_a_fallback_leaves_out_agents_that_cannot_pay():
    """Mentioned or not, while another one can; where none can, one is chosen all the same."""

    async def steps(world):
        for number in range(2):
            await world.service.say("Zoe", f"@alice {number}", id=f"z{number}")
        return [await world.wake(hour) for hour in range(1, 8)]

    agents = five_agents()[:2]
    reports = in_world(
        agents, steps, answer=everyone, intent_daily_calls=0, start_credits=4, credits_per_reply=2
    )
    chosen = [(each.agent, each.outcome) for report in reports for each in report.replies]
    assert chosen[:2] == [("bob", "published")] * 2
    assert {outcome for _, outcome in chosen[2:]} == {"no credits"}
    assert len(chosen) == 7


def test_a_fallback_does_not_choose_one_agent_for_ever():
    """One whose model fails comes after the others, also after a restart."""
    dead = {"alice", "bob", "carol", "dan"}

    def answer(call, model):
        if call.role is Role.FAST:
            return "I would wake Alice."
        name = material_of(call)["name"].lower()
        return ServerFailed("no", status=500) if name in dead else "hello"

    async def steps(world):
        woken = []
        for hour in range(10):
            again = World(five_agents(), answer=answer, store=world.store)
            woken.append((await again.wake(hour)).woken)
        return [name for names in woken for name in names]

    woken = in_world(five_agents(), steps, answer=answer)
    assert woken == ["alice", "bob", "carol", "dan", "eve"] * 2


def test_the_quota_of_a_day_is_that_of_all_services_of_a_store():
    """Three calls per day: the fourth hour falls back, whichever service wakes, until midnight."""

    async def steps(world):
        other = World(
            five_agents(), answer=world.client, store=world.store, intent_daily_calls=3, room="b"
        )
        intents = [(await each.wake(hour)).intent for hour in (0, 1) for each in (world, other)]
        return [*intents, (await world.wake(24)).intent]

    intents = in_world(five_agents(), steps, answer=everyone, intent_daily_calls=3)
    assert intents == ["answered"] * 3 + ["fallback: no quota", "answered"]


def test_a_fallback_may_be_everyone():
    """The knob decides."""

    async def steps(world):
        return await world.wake()

    report = in_world(
        five_agents(), steps, answer=intent_of("no"), fallback="everyone", max_awake=4
    )
    assert report.woken == ("alice", "bob", "carol", "dan")


def test_a_chat_of_one_agent_and_of_none():
    """One is asked about itself; without agents nothing is asked."""

    async def steps(world):
        return await world.wake()

    report = in_world(five_agents()[:1], steps)
    assert (report.requests, outcomes(report)) == (2, {"alice": "published"})
    report = in_world([], steps)
    assert (report.intent, report.calls, report.woken, report.replies) == ("not asked", 0, (), ())
    assert report.usd == 0


def test_a_message_of_a_megabyte_is_stored_whole_and_clipped_in_prompts():
    """Its mark gives the length; the notes of those who answer are short too."""
    text = "@alice " + "boat " * 200_000

    async def steps(world):
        report = await world.service.say("Zoe", text, id="big")
        wake = await world.wake()
        return world, report, wake

    world, report, wake = in_world(five_agents(), steps)
    assert outcomes(report) == {"alice": "published"}
    assert len(wake.replies) == 5
    assert world.delivered()[0] == ("Zoe", text)
    assert max(map(len, world.client.bodies())) < 15_000
    assert f"[…{len(text)}…]".encode() in world.client.bodies("dsv3")[0]
    [note] = world.store.notes.search("alice", "", limit=1)
    assert len(note) < 2_000


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"author": "Alice"}, "is an agent"),
        ({"author": ""}, "author"),
        ({"id": "main:500000:alice"}, "message id"),
        ({"id": "x\ny"}, "message id"),
        ({"id": "x" * 1_000_000}, "message id"),
        ({"to": "mallory"}, "no agent 'mallory'"),
    ],
)
def test_a_message_that_cannot_be_is_refused(message, problem):
    """The error names the value; nothing is in the log."""

    async def steps(world):
        given = {"author": "Zoe", "text": "hi", "id": "m", **message}
        with pytest.raises(ConfigError, match=problem) as caught:
            await world.service.say(given.pop("author"), given.pop("text"), **given)
        assert len(str(caught.value)) < 300
        return world

    assert in_world(five_agents(), steps).delivered() == []


def test_two_agents_of_one_id_are_refused():
    """Their credits and memories would be one."""
    agents = [*five_agents(), Agent(id="Alice", persona="another", model="dsv3")]
    with pytest.raises(ConfigError, match="'Alice'"):
        in_world(agents, None)


# Messages that address an agent.


def test_a_mention_during_a_wake_goes_directly_and_alone():
    """It does not wait for the batch, and its call is urgent; the wake is as it would be."""

    async def steps(world):
        waking = asyncio.create_task(world.wake())
        await asyncio.sleep(0.6)  # the intent has answered, and the batch waits for others
        started = world.wall()
        report = await world.service.say("Zoe", "What now, @dan?", id="m1")
        seconds = world.wall() - started
        wake = await waking
        world.check()
        return world, report, seconds, wake

    world, report, seconds, wake = in_world(five_agents(), steps, answer=everyone)
    assert (outcomes(report), report.requests) == ({"dan": "published"}, 1)
    assert seconds == pytest.approx(0.5)
    assert (wake.requests, len(wake.replies)) == (3, 5)
    [time] = [
        time
        for time, path, model, bodies in world.client.requests
        if len(bodies) == 1 and model == "qwen32b"
    ]
    assert time == 0.6
    urgent = [call for call in world.client.calls if call.priority is Priority.CRITICAL]
    assert [material_of(call)["name"] for call in urgent] == ["Dan"]
    assert urgent[0].batch_key is None
    assert material_of(urgent[0])["task"] == {
        "event": "message",
        "from": "Zoe",
        "message": "What now, @dan?",
    }
    assert world.store.rooms.has_message("main:@m1:dan")


def test_a_reply_to_a_mention_is_due_immediately():
    """A person waits for it."""

    async def steps(world):
        await world.service.say("Zoe", "@dan?", id="m1")
        return world.delivered(world.wall())

    delivered = in_world(five_agents(), steps, answer=everyone)
    assert delivered == [("Zoe", "@dan?"), ("dan", "I am Dan.")]


def test_a_message_wakes_those_that_it_addresses_and_no_other():
    """By id, by name, or by its address; at most as many as the knob has; else none."""

    async def steps(world):
        say = world.service.say
        reports = [
            await say("Zoe", "hello all, zoe@dan.example", id="1"),
            await say("Zoe", "hello", id="2", to="Dan"),
            await say("Zoe", "@eve @BOB @alice @carol", id="3"),
        ]
        world.check()
        return [report and report.woken for report in reports]

    woken = in_world(five_agents(), steps, answer=everyone, max_mentions=3)
    assert woken == [None, ("dan",), ("eve", "bob", "alice")]


@pytest.mark.parametrize(
    ("to", "text", "woken"),
    [
        ("alice", "Smith is here", ("alice",)),
        ("ALICE SMITH", "@bob?", ("carl", "bob")),
        (" bob ", "hello there", ("bob",)),
        ("@bob", "hi", ("alice",)),
        ("bob", "@bob @alice", ("bob", "alice")),
    ],
)
def test_a_message_is_for_the_agent_that_it_names_and_no_other(to, text, woken):
    """As a whole, whatever its text begins with; mentions come after it."""
    agents = [
        Agent(id=agent_id, name=name, persona="p", model="dsv3")
        for agent_id, name in [("alice", "@bob"), ("bob", "alice"), ("carl", "Alice Smith")]
    ]

    async def steps(world):
        return (await world.service.say("Zoe", text, id="1", to=to)).woken

    assert in_world(agents, steps, answer=everyone) == woken


@pytest.mark.parametrize("to", ["nobody-here", "Sam", " "])
def test_a_message_for_no_agent_is_refused(to):
    """Also one for a name that two agents have; nothing is said."""
    agents = [Agent(id=each, name="Sam", persona="p", model="dsv3") for each in ("s1", "s2")]

    async def steps(world):
        with pytest.raises(ConfigError, match="there is no agent"):
            await world.service.say("Zoe", "hi", id="1", to=to)
        with pytest.raises(ConfigError, match="is an agent"):
            await world.service.say("SAM", "hi", id="1")
        return world.delivered()

    assert in_world(agents, steps, answer=everyone) == []


def test_a_message_that_comes_again_asks_for_what_is_missing():
    """A client that has lost the connection sends it once more."""

    async def steps(world):
        first = await world.service.say("Zoe", "@dan?", id="m1")
        again = await world.service.say("Zoe", "@dan?", id="m1")
        world.check()
        return world, first, again

    world, first, again = in_world(five_agents(), steps, answer=everyone)
    assert (first.requests, again.requests) == (1, 0)
    assert outcomes(again) == {"dan": "published before"}
    assert world.balance("dan") == 999
    assert len(world.delivered()) == 2


# Repeats and crashes.


def test_a_wake_that_is_repeated_after_a_crash_asks_for_what_is_missing(tmp_path):
    """The second process asks no intent, and no message twice; each pays once."""
    path = tmp_path / "wake.db"
    never = None

    async def hanging(call, model):
        if model == "qwen32b":
            await never.wait()
        return everyone(call, model)

    async def first():
        nonlocal never
        never = asyncio.Event()
        store = WakeStore(path)
        world = World(five_agents(), answer=hanging, store=store)
        waking = asyncio.create_task(world.service.wake(START))
        await asyncio.sleep(10)
        crashed = WakeStore(path)  # reads what a killed process would have left
        held, there = crashed.credits.open_holds(), crashed.rooms.undelivered()
        crashed.close()
        waking.cancel()
        await asyncio.wait([waking])
        world.check()
        store.close()
        return held, there

    held, there = run_in_virtual_time(first())
    assert held == ["main:500000:dan", "main:500000:eve"]
    assert there == 3

    async def second():
        with WakeStore(path) as store:
            # The hold of a killed process is still open.
            assert store.credits.hold("main:500000:dan", "dan", 1)
            world = World(five_agents(), answer=everyone, store=store)
            report = await world.wake()
            return world.client.requests, report, [world.balance(a.id) for a in world.agents]

    requests, report, balances = run_in_virtual_time(second())
    assert [(model, len(bodies)) for _, _, model, bodies in requests] == [("qwen32b", 2)]
    assert outcomes(report) == {
        **dict.fromkeys(["alice", "bob", "carol"], "published before"),
        **dict.fromkeys(["dan", "eve"], "published"),
    }
    assert report.intent == "answered"
    assert balances == [999] * 5


def test_a_wake_releases_what_a_killed_process_has_held_for_earlier_ones():
    """Other chats and the present hour are left; a reply under way pays when it is published."""
    store = WakeStore(":memory:")

    async def steps(world):
        for agent in ("alice", "bob", "carol"):
            store.credits.grant(agent, 1000, transfer_id=f"start:{agent}")
        assert store.credits.hold("main:499999:alice", "alice", 1)
        assert store.credits.hold("main:@m1:bob", "bob", 1)
        assert store.credits.hold("other:1:carol", "carol", 1)
        await world.service.wake(START)
        assert store.credits.open_holds() == ["other:1:carol"]
        assert store.credits.release("other:1:carol")
        late = OutgoingMessage("main:499999:alice", "main", "alice", "Late.", START)
        assert store.publish(late, payment=("alice", 1))
        assert store.credits.total() == 0
        return [world.balance(agent) for agent in ("alice", "bob", "carol")]

    balances = in_world(five_agents(), steps, answer=everyone, store=store)
    assert balances == [998, 999, 999]


def test_a_wake_leaves_what_a_message_holds():
    """The reply to a message is asked while the next hour begins."""

    async def steps(world):
        saying = asyncio.create_task(world.service.say("Mia", "@alice hello", id="m1"))
        await asyncio.sleep(0.1)
        waking = asyncio.create_task(world.service.wake(START))
        await asyncio.sleep(0.1)
        assert world.store.credits.open_holds()[0] == "main:@m1:alice"
        await asyncio.gather(saying, waking)
        world.check()
        return world.balance("alice")

    assert in_world(five_agents(), steps, answer=everyone) == 998


def test_an_hour_that_is_woken_again_asks_nothing():
    """Every message is there."""

    async def steps(world):
        return await world.wake(), await world.wake(), world

    first, again, world = in_world(five_agents(), steps, answer=everyone)
    assert (first.requests, again.requests, again.calls) == (3, 0, 0)
    assert again.woken == first.woken
    assert world.store.rooms.undelivered() == 5


def test_credits_of_an_hour_that_was_cut_off_come_back():
    """A later hour of another process releases them; those of other chats stay."""

    async def steps(world):
        kept = world.store.credits
        for message in ("main:500000:bob", "main:@m:bob", "other:500000:bob", "main:500001:eve"):
            agent = message.rpartition(":")[2]
            kept.grant(agent, 1000, transfer_id=f"start:{agent}")
            assert kept.hold(message, agent, 10 if agent == "bob" else 1)
        await asyncio.sleep(HOUR)
        report = await world.service.wake(START + HOUR)
        held = kept.open_holds()
        for message in held:
            kept.release(message)
        return report, held, world.balance("bob")

    report, held, balance = in_world(five_agents(), steps, answer=everyone)
    assert held == ["other:500000:bob"]
    assert balance == 999
    assert set(outcomes(report).values()) == {"published"}


def test_equal_wakes_have_equal_reports():
    """Same agents, same seeds: same list, texts and usage."""

    async def steps(world):
        return [await world.wake(hour) for hour in range(2)]

    assert in_world(five_agents(), steps) == in_world(five_agents(), steps)


def test_a_cancelled_wake_gives_held_credits_back():
    """Also of agents that were not asked yet."""

    async def steps(world):
        waking = asyncio.create_task(world.service.wake(START))
        await asyncio.sleep(0.6)
        assert len(world.store.credits.open_holds()) == 5
        waking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waking
        world.check()
        return [world.balance(agent.id) for agent in world.agents]

    assert in_world(five_agents(), steps, answer=everyone) == [1000] * 5


# Delays.


def test_delays_are_seeded_and_within_their_limits():
    """The seed and the id of a message decide; equal seeds give equal times."""
    agents = [Agent(id=f"a{i}", persona="p", model="dsv3") for i in range(200)]

    async def steps(world):
        await world.wake()
        delays = {}
        while (due := world.store.rooms.next_due()) is not None:
            for message in world.store.rooms.deliver_due(due):
                delays[message.id] = due - START
        return delays

    first, again, other = (
        in_world(agents, steps, answer=everyone, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert 5.0 <= min(first.values()) < 6.0
    assert 29.0 < max(first.values()) <= 30.0
    assert len(set(first.values())) == 200


def test_a_reply_that_comes_late_is_due_soon_after():
    """Replies that come together after a minute still do not appear together."""
    client = LoggedClient(everyone, seconds=60.0)

    async def steps(world):
        await world.wake()
        answered, times = world.wall(), []
        while (due := world.store.rooms.next_due()) is not None:
            times += [due - answered for _ in world.store.rooms.deliver_due(due)]
        return times

    times = in_world(five_agents(), steps, answer=client)
    assert len(set(times)) == 5
    assert all(0.0 <= each <= 25.0 for each in times)


# Many agents and few places.


def crowd(variant, load):
    """Return requests, retries and seconds of 20 agents at a service that takes 5 requests."""
    agents = [Agent(id=f"a{i}", persona="p", model=f"m{i % 2}") for i in range(20)]

    async def steps():
        limits = SimulatedLimits(max_in_flight=5)
        settings = SimulatedSettings(boolean_true_rate=1.0, limits=limits)
        inner = SimulatedClient(settings, sleep=asyncio.sleep, now=asyncio.get_running_loop().time)
        options = {"models": ("m0", "m1"), "load": load, "variant": variant}
        world = World(agents, answer=inner, **options)
        report = await world.wake()
        assert set(outcomes(report).values()) == {"published"}
        assert report.requests == len(world.client.requests)
        retries = world.budgeter.statistics()["retry"]["retries"]
        return report.requests, retries, world.wall() - START

    return run_in_virtual_time(steps())


def test_twenty_agents_fit_a_limit_of_five_concurrent_requests():
    """A schedule keeps the limit, and so does a batch; without both the service refuses some."""
    five = LoadKnobs(schedule=ScheduleKnobs(max_concurrency=5, max_tasks=5))
    batched = crowd("server_batch", five)
    singly = crowd("mixed", five)
    unscheduled = crowd("mixed", None)
    assert (batched[:2], singly[:2]) == ((3, 0), (21, 0))
    assert unscheduled[0] > 21
    assert unscheduled[1] > 0
    assert batched[2] < singly[2] < 10
