"""Endpoints by model: a call names its endpoint, and everything else is that of its role."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits, RoleLimits
from callwise.budget.shared_requests import SharedRequests
from callwise.calls import CallRefused, ConfigError, Endpoint, Prices, Role
from callwise.calls.call_document import call_of_document, document_of_call
from callwise.calls.errors import AuthFailed, UnknownModel, UnknownRole
from callwise.calls.payload import body_bytes, document_of
from callwise.calls.provider_errors import text_of_error
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import FailingClient, ScriptedClient
from tests.callwise.budget.conftest import PRICES, FixedCounter


def client_of(name):
    """Return a client that answers with its name and the prompt."""
    return ScriptedClient(lambda call: f"{name}: {call.messages[-1].content}")


def by_model(*names, clients=None, **changes):
    """Return a budgeter whose role `main`, and each of the names, has an endpoint."""
    endpoints = {
        name: Endpoint(f"host-{name}", f"m-{name}", (clients or {}).get(name) or client_of(name))
        for name in (Role.MAIN, *names)
    }
    return Budgeter(endpoints, estimator=FixedCounter(), **changes)


async def test_a_call_is_asked_at_the_endpoint_that_it_names(ask_for):
    """The row has that endpoint and the call's role; equal calls of two models are two."""
    budgeter = by_model("dsv3", "qwen32b")
    calls = [ask_for(), ask_for(model="dsv3"), ask_for(model="qwen32b"), ask_for(model="main")]
    replies = await budgeter.ask_all(calls)
    assert [reply.text for reply in replies] == ["main: hi", "dsv3: hi", "qwen32b: hi", "main: hi"]
    seen = sorted({(row.endpoint, row.model, row.role) for row in budgeter.ledger.rows})
    assert seen == [
        ("host-dsv3", "m-dsv3", Role.MAIN),
        ("host-main", "m-main", Role.MAIN),
        ("host-qwen32b", "m-qwen32b", Role.MAIN),
    ]
    assert len({row.key for row in budgeter.ledger.rows}) == 3
    budgeter.ledger.check()


async def test_the_limits_are_those_of_the_role(ask_for):
    """Two calls of the role `main`, whichever model they name."""
    limits = Limits(roles={Role.MAIN: RoleLimits(max_calls=2)})
    budgeter = by_model("dsv3", limits=limits)
    calls = [ask_for("a", model="dsv3"), ask_for("b"), ask_for("c", model="dsv3")]
    ends = await budgeter.ask_all(calls)
    assert [isinstance(end, CallRefused) for end in ends] == [False, False, True]


async def test_an_unknown_name_is_not_counted(ask_for):
    """The error lists the names there are, whatever the name contains."""
    budgeter = by_model("dsv3")
    with pytest.raises(UnknownRole, match=r"no endpoint has the name 'gone'; there are: main, dsv"):
        await budgeter.ask(ask_for(model="gone"))
    with pytest.raises(UnknownRole) as hostile:
        budgeter.estimate(ask_for(model="a\nb" * 1000))
    assert "\n" not in str(hostile.value)
    assert len(str(hostile.value)) < 300
    assert budgeter.ledger.counts().asked == 0


async def test_the_estimate_is_by_the_endpoint_that_is_named(ask_for):
    """At its prices."""
    budgeter = by_model()
    budgeter.add_endpoint("dear", Endpoint("dear", "m", client_of("dear"), PRICES))
    assert budgeter.estimate(ask_for()).picodollars == 0
    assert budgeter.estimate(ask_for(model="dear")).picodollars > 0


async def test_an_endpoint_may_be_added_and_is_closed(ask_for):
    """One name has one endpoint."""
    budgeter = by_model("dsv3")
    late = Endpoint("late", "m", client_of("late"))
    budgeter.add_endpoint("qwen32b", late)
    with pytest.raises(ConfigError, match=r"model qwen32b is served by late \(m\) already"):
        budgeter.add_endpoint("qwen32b", late)
    assert budgeter.endpoint("qwen32b") is late
    assert (await budgeter.ask(ask_for(model="qwen32b"))).text == "late: hi"
    await budgeter.prepare()
    clients = [each.client for each in budgeter._endpoints.values()]
    await budgeter.aclose()
    assert [client.is_closed for client in clients] == [True] * 3


def test_a_limit_in_usd_needs_prices_of_every_model():
    """That of a role too: calls of every role may name the model."""
    for limits in (Limits(max_usd=1), Limits(roles={Role.JUDGE: RoleLimits(max_usd=1)})):
        with pytest.raises(ConfigError, match=r"max_usd cannot bind, because endpoint host-dsv3"):
            Budgeter({"dsv3": Endpoint("host-dsv3", "m", client_of("dsv3"))}, limits=limits)
        budgeter = Budgeter(limits=limits)
        with pytest.raises(ConfigError, match="max_usd cannot bind"):
            budgeter.add_endpoint("dsv3", Endpoint("host-dsv3", "m", client_of("dsv3")))


async def test_a_limit_in_usd_binds_a_call_that_names_the_endpoint_of_another_role(ask_for):
    """Its endpoint needs prices, or the call is refused before it is counted."""
    priced = Endpoint("priced", "m", client_of("main"), Prices(1.0, 2.0))
    endpoints = {Role.MAIN: priced, Role.FAST: Endpoint("free", "m", client_of("fast"))}
    limits = Limits(roles={Role.MAIN: RoleLimits(max_usd=1)})
    budgeter = Budgeter(endpoints, limits=limits, estimator=FixedCounter())
    assert (await budgeter.ask(ask_for(role=Role.FAST))).text == "fast: hi"
    with pytest.raises(ConfigError, match=r"run: max_usd\[main\] cannot bind, .* endpoint free"):
        await budgeter.ask(ask_for(model="fast"))
    assert budgeter.ledger.counts().asked == 1


async def test_a_strict_replay_of_calls_by_model_sends_nothing(tmp_path, ask_for):
    """The same answers and rows, in any order, and the same bytes."""
    path = tmp_path / "talk.jsonl"
    prompts = [(f"question {at}", model) for at in range(4) for model in ("", "a", "b")]

    async def run(mode, order, clients):
        with open_cassette(path, mode=mode) as cassette:
            budgeter = by_model("a", "b", recorder=cassette, clients=clients)
            texts = {}

            async def ask(prompt, model):
                reply = await budgeter.ask(ask_for(prompt, model=model, share=False))
                texts[prompt, model] = reply.text

            await asyncio.gather(*(ask(*each) for each in order))
            budgeter.ledger.check()
        rows = sorted(
            (row.key, row.endpoint, row.model, row.role, row.usage.tokens)
            for row in budgeter.ledger.rows
        )
        return texts, rows

    recorded = await run(CassetteMode.NEW_EPISODES, prompts, None)
    content = path.read_bytes()
    for order in (prompts, prompts[::-1], sorted(prompts, key=lambda each: each[1])):
        silent = {name: ScriptedClient([]) for name in (Role.MAIN, "a", "b")}
        assert await run(CassetteMode.STRICT, order, silent) == recorded
        assert [client.sent_requests for client in silent.values()] == [0, 0, 0]
    assert path.read_bytes() == content


async def test_budgeters_in_common_have_the_same_models(ask_for):
    """A second one's calls reach the endpoints of the first."""
    shared = SharedRequests()
    first, second = by_model("dsv3", shared=shared), by_model("dsv3", shared=shared)
    await first.ask(ask_for("a", model="dsv3"))
    await second.ask(ask_for("b", model="dsv3"))
    assert first.endpoint("dsv3") is second.endpoint("dsv3")
    assert first.endpoint("dsv3").client.sent_requests == 2
    await first.aclose()
    await second.aclose()
    await shared.aclose()


async def test_an_error_names_the_model_that_was_asked(ask_for):
    """And what to set is of that endpoint, not of the role."""
    budgeter = by_model("dsv3", clients={"dsv3": FailingClient(lambda: AuthFailed("no"))})
    with pytest.raises(AuthFailed) as failed:
        await budgeter.ask(ask_for(model="dsv3"))
    assert (failed.value.role, failed.value.asked_model) == (Role.MAIN, "dsv3")
    assert text_of_error(failed.value).startswith("AuthFailed: dsv3 at host-dsv3 (m-dsv3): no.")
    unknown = UnknownModel("no such model")
    unknown.asked_model, unknown.endpoint = "dsv3", budgeter.endpoint("dsv3")
    assert "Set model of the endpoint dsv3 to a model" in text_of_error(unknown)


def test_a_call_that_is_kept_on_disk_keeps_its_model(ask_for):
    """A document of an earlier version has none."""
    kept = document_of_call(ask_for(model="dsv3"))
    assert call_of_document(kept) == ask_for(model="dsv3")
    earlier = document_of(kept)
    del earlier["model"]
    assert call_of_document(body_bytes(earlier)) == ask_for()
