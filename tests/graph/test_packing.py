"""Packing in a turn: fewer calls, the same questions, and a bound for the worst case."""

from collections import Counter

import pytest
from pydantic import BaseModel, Field

from callwise import replay
from callwise.budget import Budgeter, Limits, VirtualClock
from callwise.calls import Call, Endpoint, Message, Purpose, Role, Sampling
from callwise.calls.client import Prices
from callwise.calls.errors import CallRefused, ConfigError
from callwise.testing.fakes import ScriptedClient
from graph.app import app
from graph.knob_groups import PackKnobs
from graph.pipeline_llm import PipelineLLM
from tests.callwise.budget.conftest import FixedCounter
from tests.graph.conftest import ChangingClient

WIDE = {"search.soft_top_n": 3, "search.expand_k": 4, "search.soft_max_concurrency": 4}
TRIAL = {"pack.judge.is_trial": True}
TALK = [{"conversation_id": "a", "turns": [{"user": "I had a bad day, my boss shouted"}]}]


def overrides(knobs):
    """Return knobs as overrides."""
    return [f"{knob}={str(value).lower()}" for knob, value in knobs.items()]


def planned(knobs):
    """Return the scenarios of a plan, by their names."""
    return app.plan(app.settings("classic", overrides(knobs))).as_json()["scenarios"]


def judged(folder, knobs):
    """Return how many judge calls a turn asked, with the run's folder."""
    run = replay(TALK, folder, preset="classic", knobs={**WIDE, **knobs})
    rows = [row for row in run.rows if row.purpose == "judge"]
    return rows, run


def test_judges_of_one_round_share_a_prompt(tmp_path):
    """Each of the 12 candidates is judged, by 4 calls."""
    alone, _ = judged(tmp_path / "alone", {})
    packed, run = judged(tmp_path / "packed", TRIAL)
    assert (len(alone), len(packed)) == (14, 6)
    assert sum(row.notes == "3 questions in one prompt" for row in packed) == 4
    assert run.turns[0].reply


def test_nothing_is_packed_without_a_proof(tmp_path):
    """Nor with one that is too low."""
    for number, low in enumerate((None, -0.06)):
        knobs = {"pack.judge.size": 4, "pack.judge.lower_sd": low}
        rows, _ = judged(tmp_path / str(number), knobs)
        assert len(rows) == 14
    rows, _ = judged(tmp_path / "proved", {"pack.judge.lower_sd": -0.05})
    assert len(rows) == 6


@pytest.mark.parametrize("spoils_all", [False, True])
async def test_the_worst_case_of_a_plan_is_a_bound(answer_through, spoils_all):
    """Packed calls that cannot be read are repaired, and followed by the single ones."""

    def spoil(call, _number, _text):
        is_pack = "question 1 of" in call.messages[-1].content
        return "no" if call.purpose is Purpose.JUDGE and (is_pack or spoils_all) else None

    plan = planned({**WIDE, **TRIAL})["worst"]
    (turn,) = await answer_through(
        lambda _role, client: ChangingClient(client, spoil),
        *overrides({**WIDE, **TRIAL}),
        preset="classic",
        is_direct=True,
    )
    asked = Counter(row["purpose"] for row in turn.rows)
    if spoils_all:
        assert asked["judge"] == plan["by_purpose"]["judge"] == 36
    assert asked["judge"] <= plan["by_purpose"]["judge"]
    assert turn.record["asked"] <= plan["asked"]


def test_a_plan_has_packed_calls_as_they_are_asked(tmp_path):
    """The default is exact, and another purpose's knobs change nothing."""
    _, run = judged(tmp_path / "packed", TRIAL)
    for knobs in (TRIAL, {"pack.default.is_trial": True}):
        default = planned({**WIDE, **knobs})["default"]
        assert default["asked"] == len(run.rows)
        assert default["by_purpose"]["judge"] == 6
    off = {**WIDE, "pack.default.is_trial": True, "pack.judge.size": 4}
    assert planned(off)["default"]["by_purpose"]["judge"] == 14


def test_a_purpose_that_is_none_is_refused():
    """Naming the nearest."""
    with pytest.raises(ConfigError, match="did you mean judge"):
        app.settings("classic", ["pack.judje.size=4"])


class Score(BaseModel):
    """A judge's answer."""

    score: float = Field(ge=0, le=1)


@pytest.mark.parametrize(
    ("limits", "scored"),
    [
        (Limits(max_tokens=250), 2),
        (Limits(max_usd=250e-6), 2),
        (Limits(max_calls=0), 0),
        (Limits(max_requests=0), 0),
    ],
)
async def test_a_limit_that_two_questions_reach_leaves_the_first_of_them(limits, scored):
    """Tokens and USD may suffice for some; without calls none is asked."""
    client = ScriptedClient(lambda _call: '{"score": 0.5}')
    endpoint = Endpoint("fake", "m", client, prices=Prices(1.0, 1.0))
    budgeter = Budgeter(
        dict.fromkeys(Role, endpoint),
        limits=limits,
        clock=VirtualClock(),
        estimator=FixedCounter(),
    )
    llm = PipelineLLM(budgeter, 0, {}, packing={"judge": PackKnobs(size=4, is_trial=True)})
    calls = [
        Call(
            Role.JUDGE,
            Purpose.JUDGE,
            (Message("user", f"text {number}"),),
            response_model=Score,
            sampling=Sampling(max_tokens=100),
        )
        for number in range(4)
    ]
    answers = await llm.ask_all(calls)
    assert sum(not isinstance(each, CallRefused) for each in answers) == scored
    assert client.sent_requests == scored
    budgeter.ledger.check()
