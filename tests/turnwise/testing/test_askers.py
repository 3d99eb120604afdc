"""The fake at the asker seam."""

import pytest
from pydantic import BaseModel

from turnwise.calls import Advisory, Asker, Call, CallRefused, Message, Purpose, Role
from turnwise.calls.errors import AuthFailed, InvalidAnswer, ServerFailed
from turnwise.testing.askers import ScriptedAsker
from turnwise.testing.clients import ScriptExhausted


class Answer(BaseModel):
    """What the calls here ask for."""

    thought: str


def call(purpose=Purpose.MONOLOGUE, *, sample=0):
    """Return a call for a purpose."""
    return Call(Role.MAIN, purpose, (Message("user", "{}"),), response_model=Answer, sample=sample)


async def test_it_answers_by_purpose_and_keeps_the_calls():
    """One answer is given always, a list in order, a function by the call."""
    asker: Asker = ScriptedAsker(
        {
            Purpose.MONOLOGUE: {"thought": "always"},
            Purpose.REASON: [Answer(thought="first"), '{"thought": "second"}'],
            Purpose.JUDGE: lambda asked: {"thought": f"sample {asked.sample}"},
        }
    )
    asked = [
        call(),
        call(),
        call(Purpose.REASON),
        call(Purpose.REASON),
        call(Purpose.JUDGE, sample=4),
    ]
    thoughts = [(await asker.ask(one)).parsed.thought for one in asked]
    assert thoughts == ["always", "always", "first", "second", "sample 4"]
    assert asker.calls == asked
    assert len(asker.calls_for(Purpose.REASON)) == 2


async def test_it_refuses_beyond_its_maximum():
    """A refused call is kept too, and the advisory says what is left."""
    asker = ScriptedAsker({Purpose.MONOLOGUE: {"thought": "x"}}, max_calls=1)
    assert asker.advisory().calls_left == 1
    await asker.ask(call())
    with pytest.raises(CallRefused):
        await asker.ask(call())
    assert asker.advisory().calls_left == 0
    assert len(asker.calls) == 2


async def test_answers_are_parsed_as_the_budgeter_parses_them():
    """An answer that does not fit fails in the fake too."""
    with pytest.raises(InvalidAnswer):
        await ScriptedAsker({Purpose.MONOLOGUE: "no JSON here"}).ask(call())


async def test_a_round_keeps_errors_in_their_place_and_bounds_concurrency():
    """One failure does not take the others' answers; at most so many run at once."""
    asker = ScriptedAsker(
        {
            Purpose.JUDGE: lambda asked: (
                ServerFailed("500") if asked.sample == 1 else {"thought": str(asked.sample)}
            )
        }
    )
    calls = [call(Purpose.JUDGE, sample=sample) for sample in range(5)]
    outcomes = await asker.ask_all(calls, max_concurrency=2)
    assert isinstance(outcomes[1], ServerFailed)
    assert [outcomes[place].parsed.thought for place in (0, 2, 3, 4)] == ["0", "2", "3", "4"]
    assert asker.max_in_flight == 2
    await asker.ask_all(calls)
    assert asker.max_in_flight == 5


async def test_a_fatal_error_ends_a_round():
    """A key that is wrong for one call is wrong for all."""
    asker = ScriptedAsker({Purpose.MONOLOGUE: AuthFailed("401")})
    with pytest.raises(AuthFailed):
        await asker.ask_all([call(), call()])


async def test_a_script_that_ends_says_so():
    """A test that asks too much, or for what is not scripted, hears it."""
    asker = ScriptedAsker({Purpose.REASON: []}, advisory=Advisory(calls_left=3))
    with pytest.raises(ScriptExhausted, match="call 1"):
        await asker.ask(call(Purpose.REASON))
    with pytest.raises(ScriptExhausted, match="no answer for purpose"):
        await asker.ask(call())
    assert asker.advisory().calls_left == 3
