"""Layer `choose`: which models answer a call, and what its row and its recording have of that."""

import asyncio

import pytest

from callwise.budget import Budgeter, ManualClock
from callwise.calls import Call, ConfigError, Endpoint, Message, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.policies import RouteEntry, RoutePolicy
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient

JUDGE = Call(Role.JUDGE, Purpose.JUDGE, (Message("user", "how good is it?"),))


def route(*models):
    """Return a table of models of which nothing was measured."""
    return RoutePolicy(table=tuple(RouteEntry(model=model) for model in models))


def budgeter_of(policies, **options):
    """Return a budgeter of two models, one of them the judge's."""
    endpoints = {
        Role.MAIN: Endpoint("a", "large", ScriptedClient(["large"] * 9)),
        Role.JUDGE: Endpoint("a", "large", ScriptedClient(["large"] * 9)),
        Role.EMBED: Endpoint("a", "vectors", ScriptedClient(["vectors"] * 9)),
        "small": Endpoint("b", "tiny", ScriptedClient(["small"] * 9)),
    }
    return Budgeter(endpoints, policies=policies, clock=ManualClock(), **options)


def test_a_call_goes_to_the_model_of_its_policy():
    """And its row has the endpoint that was asked, and why."""
    budgeter = budgeter_of({"judge": route("small", "judge")})
    assert asyncio.run(budgeter.ask(JUDGE)).text == "small"
    (row,) = budgeter.ledger.rows
    assert (row.role, row.endpoint, row.model) == (Role.JUDGE, "b", "tiny")
    assert row.choice is not None
    assert (row.choice.policy, row.choice.model) == ("route", "small")
    assert row.choice.alternatives == ("judge: later in the table",)
    assert row.as_dict()["choice"]["reason"]
    assert budgeter.statistics()["choose"] == {"judge_to_small": 1}


def test_the_question_is_named_as_its_role_would_be_asked_it():
    """The key under which a table that changes nothing would have it."""
    budgeter = budgeter_of({"judge": route("small")})
    plain = budgeter_of({})
    asyncio.run(budgeter.ask(JUDGE))
    asyncio.run(plain.ask(JUDGE))
    (row,), (own,) = budgeter.ledger.rows, plain.ledger.rows
    assert row.choice.asked == own.key != row.key
    assert own.choice is None
    assert "choice" not in own.as_dict()
    assert "choose" not in plain.statistics()


def test_a_named_model_and_an_embedding_pass():
    """`default` is for chat calls that name no model."""
    budgeter = budgeter_of({"default": route("small")})
    named = Call(Role.MAIN, Purpose.OTHER, JUDGE.messages, model="small")
    vectors = Call(Role.EMBED, Purpose.EMBED, inputs=("a",))
    asyncio.run(budgeter.ask(named))
    asyncio.run(budgeter.ask(vectors))
    assert [row.choice for row in budgeter.ledger.rows] == [None, None]
    asyncio.run(budgeter.ask(JUDGE))
    assert budgeter.ledger.rows[-1].choice.model == "small"


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        ({"judje": route("small")}, "no such purpose"),
        ({"embed": route("small")}, "policies.embed chooses nothing"),
        ({"judge": route("medium")}, "names the model 'medium'"),
    ],
)
def test_what_is_not_there_is_an_error_before_anything_is_asked(policies, problem):
    """It names what there is."""
    with pytest.raises(ConfigError, match=problem):
        budgeter_of(policies)


def test_a_choice_is_recorded(tmp_path):
    """Each exchange has it, and a replay's row too."""
    policies, rows = {"judge": route("small")}, []
    for mode in (CassetteMode.NEW_EPISODES, CassetteMode.STRICT):
        with open_cassette(tmp_path / "c.jsonl", mode) as cassette:
            budgeter = budgeter_of(policies, recorder=cassette)
            asyncio.run(budgeter.ask(JUDGE))
            rows += budgeter.ledger.rows
    assert rows[0].choice == rows[1].choice
    assert b'"choice":{"policy":"route"' in (tmp_path / "c.jsonl").read_bytes()


@pytest.mark.parametrize(
    "document",
    [{"by": "x"}, {"policy": 1}, {"alternatives": "a"}, {"alternatives": [1]}, {"step": -1}],
)
def test_a_choice_of_another_form_is_refused(document):
    """Naming the field."""
    with pytest.raises(ValueError, match=f"choice.*{next(iter(document))}"):
        Choice.from_json(document)


def test_a_choice_survives_as_json():
    """With and without its optional fields."""
    bare = Choice("route", "0" * 16, "1" * 64, "small")
    full = bare._replace(reason="cheap", alternatives=("large: dear",), step=2)
    for choice in (bare, full):
        assert Choice.from_json(choice.to_json()) == choice
