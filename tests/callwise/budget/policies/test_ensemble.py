"""Policy `ensemble`: members are asked together, and their answers are combined."""

import asyncio
from dataclasses import replace
from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from callwise.budget import Budgeter, Limits, ManualClock
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, Role
from callwise.calls.errors import ContentRefused, ServerFailed
from callwise.calls.policies import EnsemblePolicy
from callwise.calls.reply import TokenLogprobs
from callwise.calls.retry import RetryPolicy
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient

QUESTION = Call(Role.MAIN, Purpose.JUDGE, (Message("user", "how good is it?"),))
MODELS = ("a", "b", "c")


class Verdict(BaseModel):
    """A score, a class, and words about it."""

    score: float = Field(ge=0, le=1)
    kind: Literal["warm", "cold"] = "warm"
    why: str = ""


def budgeter_of(answers, options=(), **given):
    """Return a budgeter of three members and a larger model."""
    names = [*MODELS[: len(answers)]]
    endpoints = {
        name: Endpoint(name, f"model-{name}", ScriptedClient(script))
        for name, script in zip(names, answers, strict=True)
    }
    endpoints[Role.MAIN] = Endpoint("l", "big", ScriptedClient(["large"] * 9))
    policy = EnsemblePolicy.model_validate({"models": names, **dict(options)})
    retry = RetryPolicy(server_failed_attempts=1)
    return Budgeter(
        endpoints, policies={"judge": policy}, clock=ManualClock(), retry=retry, **given
    )


def answer(answers, options=(), call=QUESTION, **given):
    """Return the combined reply and the budgeter that was asked."""
    budgeter = budgeter_of([[each] for each in answers], options, **given)
    return asyncio.run(budgeter.ask(call)), budgeter


@pytest.mark.parametrize(
    ("answers", "options", "taken"),
    [
        (["yes", "no", "No."], {}, "no"),
        (["yes", "no", "maybe"], {}, "yes"),
        (["yes", "no", "no"], {"by": "weighted", "weights": (3, 1, 1)}, "yes"),
        (["1", "2", "6"], {}, "3"),
        (["1", "2", "6"], {"numbers": "median"}, "2"),
        (["1", "2", "6"], {"by": "weighted", "weights": (1, 1, 2)}, "3.75"),
    ],
)
def test_votes_and_numbers(answers, options, taken):
    """Of equal groups that of the first member wins."""
    assert answer(answers, options)[0].text == taken


def test_members_are_asked_in_one_round():
    """Each with its row, and how they disagreed is in the statistics."""
    _, budgeter = answer(["yes", "no", "no"])
    rows = budgeter.ledger.rows
    assert sorted(row.choice.step for row in rows) == [0, 1, 2]
    assert {row.end_round for row in rows} == {1}
    counted = budgeter.statistics()["choose"]
    assert counted["judge_mean_share_against"] == pytest.approx(1 / 3)


def test_the_row_of_the_taken_member_has_the_disagreement():
    """That of the vote, and of its numbers; the rows of the others have none.

    Where too few agree, the answer of the other model is the one that is taken.
    """

    def measured(answers, options=(), **given):
        _, budgeter = answer(answers, options, **given)
        rows = sorted(budgeter.ledger.rows, key=lambda row: row.choice.step)
        return [(row.choice.share_against, row.choice.spread, row.choice.is_taken) for row in rows]

    none = (None, None, False)
    assert measured(["yes", "no", "no"]) == [none, (pytest.approx(1 / 3), 0.0, True), none]
    assert measured(["1", "2", "6"]) == [(0.0, 5.0, True), none, none]
    by = {"by": "agreement", "otherwise": "main"}
    unlike = (pytest.approx(2 / 3), 0.0)
    otherwise = (None, None, True)
    assert measured(["1", "2", "3"], by) == [(*unlike, False), none, none, otherwise]
    refused = measured(["1", "2", "3"], by, limits=Limits(max_calls=3))
    assert refused == [(*unlike, True), none, none, none]


def test_a_form_is_combined_within_the_class_that_wins():
    """The mean of its numbers, and the words of the most typical one."""
    answers = [
        '{"score": 0.2, "kind": "cold"}',
        '{"score": 0.6, "kind": "warm", "why": "a"}',
        '{"score": 0.8, "kind": "warm", "why": "a"}',
    ]
    call = replace(QUESTION, response_model=Verdict)
    reply, _ = answer(answers, call=call)
    assert reply.parsed == Verdict(score=0.7, kind="warm", why="a")
    assert Verdict.model_validate_json(reply.text) == reply.parsed


class Invoice(BaseModel):
    """An answer without limits, whose field has another name on the wire."""

    number: int = Field(alias="no")


@pytest.mark.parametrize(
    ("numbers", "taken"),
    [(["9" * 30, "1", "3"], 2), (["9" * 30, "9" * 30, "3"], int("9" * 30)), (["2", "4", "6"], 4)],
)
def test_a_number_too_large_for_a_mean_is_a_word(numbers, taken):
    """It is an identifier: the same, or another."""
    call = replace(QUESTION, response_model=Invoice)
    reply, _ = answer([f'{{"no": {number}}}' for number in numbers], call=call)
    assert reply.parsed == Invoice(no=taken)
    assert Invoice.model_validate_json(reply.text) == reply.parsed


@pytest.mark.parametrize(
    ("texts", "taken"), [(["1.7e308"] * 3, "1.7e308"), (["1_0", "4", "6"], "5")]
)
def test_texts_that_are_no_usual_numbers_are_words(texts, taken):
    """Python reads more of them as numbers than people do."""
    assert answer(texts)[0].text == taken


def test_the_text_most_like_the_others_is_taken():
    """Where texts are long, no two are equal."""
    answers = [
        "Bananas are yellow and grow in warm countries.",
        "The train to the city leaves at nine from platform two.",
        "The train to the city leaves at nine, from platform 2.",
    ]
    assert answer(answers)[0].text in answers[1:]


def test_confident_members_weigh_more():
    """Unless one of them gives no probabilities."""
    sure, unsure = -0.01, -2.0
    told = [
        Reply(text, token_logprobs=(TokenLogprobs(text, logprob),))
        for text, logprob in (("yes", sure), ("no", unsure), ("no", unsure))
    ]
    assert answer(told, {"by": "confidence"})[0].text == "yes"
    assert answer([told[0], "no", "no"], {"by": "confidence"})[0].text == "no"


def test_too_few_that_agree_ask_another_model():
    """Its row has how they disagreed. Where it is refused the vote is kept."""
    options = {"by": "agreement", "otherwise": "main"}
    reply, budgeter = answer(["1", "2", "2.5"], options)
    assert reply.text == "large"
    assert budgeter.ledger.rows[-1].choice.reason.startswith("1 of 3 agree, which is below 0.6")
    close = {**options, "agreement": {"tolerance": 0.5}}
    assert answer(["1", "2", "2.5"], close)[0].text == "2.25"
    assert answer(["1", "2", "3"], options, limits=Limits(max_calls=3))[0].text == "1"


def test_a_member_that_fails_costs_nothing_but_itself():
    """And where all do, the error is that of the first."""
    failed = ServerFailed("500", status=500)
    reply, budgeter = answer([failed, "no", "no"])
    assert reply.text == "no"
    assert len(budgeter.ledger.rows) == 3
    with pytest.raises(ServerFailed):
        answer([failed, ContentRefused("no"), ContentRefused("no")])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"models": ("a", "a")}, "twice"),
        ({"by": "weighted"}, "weights"),
        ({"by": "weighted", "weights": (1,)}, "1 numbers for 3 models"),
        ({"by": "agreement"}, "otherwise"),
        ({"by": "agreement", "otherwise": "a"}, "one of `models`"),
    ],
)
def test_knobs_that_cannot_work_are_refused(options, problem):
    """Before anything runs."""
    with pytest.raises(ValidationError, match=problem):
        EnsemblePolicy.model_validate({"models": MODELS, **options})


def test_a_strict_replay_combines_the_same(tmp_path):
    """Whichever member ends first, at any concurrency."""
    questions = [replace(QUESTION, messages=(Message("user", str(n)),)) for n in range(9)]

    def late(turns, shift):
        async def member(call):
            for _ in range(turns):
                await asyncio.sleep(0)
            return str(int(call.messages[0].content) + shift)

        return member

    found = []
    for turns in ((5, 1, 3), (1, 3, 5), None, None):
        mode = CassetteMode.REWRITE if turns else CassetteMode.STRICT
        scripts = [late(each, place) for place, each in enumerate(turns)] if turns else [[]] * 3
        with open_cassette(tmp_path / "c.jsonl", mode) as cassette:
            budgeter = budgeter_of(scripts, recorder=cassette)
            width = 1 if len(found) == 2 else None
            replies = asyncio.run(budgeter.ask_all(questions, max_concurrency=width))
        keys = sorted((row.key, row.choice) for row in budgeter.ledger.rows)
        found.append(([reply.text for reply in replies], keys, budgeter.statistics()["choose"]))
    assert found[0] == found[1] == found[2] == found[3]
