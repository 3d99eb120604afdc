"""Wakes at endpoints over HTTP, and in processes that share a store."""

import asyncio

from callwise.budget import Budgeter
from callwise.calls import Role
from callwise.calls.endpoint_settings import EndpointSettings
from callwise.calls.role_endpoints import endpoints_from_settings, models_from_settings
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.wake import WakeKnobs, WakeService, WakeStore
from tests.callwise.wake.wake_world import START, five_agents


async def woken(server, store, variant, **changes):
    """Return the report of five agents who wake at a server, and the requests that it received."""
    knobs = WakeKnobs(variant=variant, room=variant, batch_wait_seconds=0.2, **changes)
    main = {
        Role.MAIN: EndpointSettings(base_url=server.base_url, model="main", api_key_env="SIM_KEY")
    }
    environ = {"SIM_KEY": "a-key-of-the-test"}
    models = dict.fromkeys(("dsv3", "qwen32b"), EndpointSettings())
    budgeter = Budgeter(
        {
            **endpoints_from_settings(main, environ=environ),
            **models_from_settings(models, main, environ=environ),
        },
        load=knobs.load(),
    )
    before = len(server.log)
    try:
        service = WakeService(five_agents(), store, budgeter, knobs, wall=lambda: START)
        report = await service.wake(START)
        budgeter.ledger.check()
    finally:
        await budgeter.aclose()
    return report, server.log[before:]


async def test_three_requests_arrive_at_a_server():
    """One of the intent and one per model, on the endpoint's route for conversations."""
    settings = SimulatedSettings(boolean_true_rate=1.0)
    ends = []
    for variant in ("server_batch", "mixed"):
        async with SimServer(settings) as server:
            with WakeStore(":memory:") as store:
                ends.append(await woken(server, store, variant))
    (together, requests), (apart, others) = ends
    batch = "/v1/chat/completions/batch"
    assert sorted((each.path, each.model, each.items) for each in requests) == [
        ("/v1/chat/completions", "main", 1),
        (batch, "dsv3", 3),
        (batch, "qwen32b", 2),
    ]
    assert (together.requests, apart.requests, len(others)) == (3, 6, 6)
    assert [each.text for each in together.replies] == [each.text for each in apart.replies]
    assert all(each.text for each in together.replies)


async def test_the_extraction_of_all_facts_is_a_fourth_request():
    """On the same route, of the fast model; the simulated server answers each conversation."""
    settings = SimulatedSettings(boolean_true_rate=1.0)
    async with SimServer(settings) as server:
        with WakeStore(":memory:") as store:
            store.rooms.say("server_batch", "Mia", "I moved to Oslo.", id="p1", at=START - 1)
            report, requests = await woken(server, store, "server_batch", memory="extracted")
            notes = {each.id: store.notes.search(each.id, "", limit=9) for each in five_agents()}
    *_, last = requests
    assert (last.path, last.model, last.items) == ("/v1/chat/completions/batch", "main", 5)
    assert (report.calls, report.requests, len(requests)) == (11, 4, 4)
    for reply in report.replies:
        assert reply.facts
        assert set(reply.facts) < set(notes[reply.agent])
        assert reply.memory_problem == ""


async def test_a_server_without_the_route_is_asked_one_by_one():
    """The request that it did not know is counted, and every agent has its reply."""
    settings = SimulatedSettings(boolean_true_rate=1.0)
    path = "/v1/chat/completions/batch"
    async with SimServer(settings, failing_paths=[path]) as server:
        with WakeStore(":memory:") as store:
            report, requests = await woken(server, store, "server_batch")
    assert {each.outcome for each in report.replies} == {"published"}
    assert report.requests == len(requests) == 1 + 2 + 5


async def test_two_services_that_wake_one_hour_publish_each_message_once(tmp_path):
    """Two schedulers on one store: both may ask, one pays, and one list decides."""
    settings = SimulatedSettings(boolean_true_rate=1.0)
    path = tmp_path / "wake.sqlite"
    async with SimServer(settings) as server:
        with WakeStore(path) as one, WakeStore(path) as other:
            reports = await asyncio.gather(
                woken(server, one, "mixed"), woken(server, other, "mixed")
            )
            assert one.rooms.undelivered() == 5
            assert other.credits.open_holds() == []
            assert {one.credits.balance(agent.id) for agent in five_agents()} == {999}
    outcomes = [reply.outcome for report, _ in reports for reply in report.replies]
    assert outcomes.count("published") == 5
    assert set(outcomes) == {"published", "published before"}
    assert reports[0][0].woken == reports[1][0].woken
