"""Policy `cascade`: which models are asked, which answer is taken, and what a replay finds."""

import asyncio
from dataclasses import replace

import pytest
from pydantic import BaseModel, Field, ValidationError

from callwise.budget import Budgeter, Limits, ManualClock, ScopeKind
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Reply, Role
from callwise.calls.errors import AuthFailed, ConfigError, ContentRefused, ServerFailed
from callwise.calls.policies import CascadePolicy, ConfidenceCalibration
from callwise.calls.reply import TokenLogprobs
from callwise.calls.retry import RetryPolicy
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient

QUESTION = Call(Role.MAIN, Purpose.REASON, (Message("user", "how far is it?"),))
LOGPROBS = {"kind": "cascade", "models": ("small", "main")}


class Distance(BaseModel):
    """An answer with a form."""

    km: float = Field(ge=0, le=1000)


def told(text, *logprobs):
    """Return a reply with its tokens' log-probabilities, one token per part of the text."""
    size = -(-len(text) // len(logprobs))
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return Reply(text, token_logprobs=tuple(map(TokenLogprobs, parts, logprobs)))


def budgeter_of(knobs, small, large=("large",) * 3, judge=(), **options):
    """Return a budgeter with a cascade for every purpose, and its clients."""
    clients = {"small": ScriptedClient(small), "large": ScriptedClient(large)}
    clients["judge"] = ScriptedClient(judge)
    endpoints = {
        Role.MAIN: Endpoint("l", "big", clients["large"]),
        Role.JUDGE: Endpoint("j", "wise", clients["judge"]),
        "small": Endpoint("s", "tiny", clients["small"]),
    }
    policies = {"default": CascadePolicy.model_validate(knobs)}
    retry = RetryPolicy(server_failed_attempts=1)
    budgeter = Budgeter(endpoints, policies=policies, clock=ManualClock(), retry=retry, **options)
    return budgeter, clients


def asked(budgeter):
    """Return model, step and outcome of each row."""
    return [(row.model, row.choice.step, row.outcome.value) for row in budgeter.ledger.rows]


def test_a_sure_answer_is_taken():
    """One call, asked for the probabilities of its tokens."""
    budgeter, clients = budgeter_of(LOGPROBS, [told("7 km", -0.01, -0.02)])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "7 km"
    assert asked(budgeter) == [("tiny", 0, "served")]
    assert clients["small"].calls[0].sampling.top_logprobs == 0
    assert budgeter.statistics()["choose"]["default_taken_from_small"] == 1


def test_an_unsure_answer_is_escalated():
    """The row of the next model has the confidence, and that it was not calibrated."""
    budgeter, clients = budgeter_of(LOGPROBS, [told("7 km", -1.0, -0.5)])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "large"
    assert asked(budgeter) == [("tiny", 0, "served"), ("big", 1, "served")]
    reason = budgeter.ledger.rows[1].choice.reason
    assert reason == "escalated from small: confidence 0.4724 < 0.8 (logprobs, not calibrated)"
    assert clients["large"].calls[0].sampling.top_logprobs is None
    assert budgeter.ledger.rows[1].end_round == 2


def test_a_calibration_decides_by_the_chance():
    """Interpolated between its points, and that of the nearest outside of them."""
    calibration = ConfidenceCalibration(
        model="small", by="logprobs", raw=(0.4, 0.5), chance=(0.5, 0.9), labels=40
    )
    assert [calibration.chance_of(raw) for raw in (0.0, 0.45, 1.0)] == [0.5, 0.7, 0.9]
    knobs = {**LOGPROBS, "calibration": (calibration,)}
    budgeter, _ = budgeter_of(knobs, [told("7 km", -1.0, -0.5), told("8 km", -0.6, -0.6)])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "large"
    assert "logprobs 0.4724" in budgeter.ledger.rows[1].choice.reason
    assert asyncio.run(budgeter.ask(QUESTION.resample(1))).text == "8 km"


def measured(rows):
    """Return the confidence of each row's answer, rounded, and whether it was taken."""
    found = ((row.choice.confidence, row.choice.is_taken) for row in rows)
    return [(None if raw is None else round(raw, 4), taken) for raw, taken in found]


@pytest.mark.parametrize(
    ("by", "small", "judge", "expected"),
    [
        ("logprobs", [told("7 km", -0.01, -0.02)], (), [(0.9851, True)]),
        ("logprobs", [told("7 km", -1.0, -0.5)], (), [(0.4724, False), (None, True)]),
        (
            "agreement",
            ["7", "8", "8"],
            (),
            [(None, False), (0.6667, False), (None, False), (None, True)],
        ),
        ("judge", ["7 km"], ['{"good": 0.9}'], [(0.9, True), (None, False)]),
        ("logprobs", ["7 km"], (), [(None, False), (None, True)]),
    ],
)
def test_the_row_of_an_answer_has_its_confidence(by, small, judge, expected):
    """Whether it was taken too, in the rows of its turn as in the ledger's."""
    budgeter, _ = budgeter_of({**LOGPROBS, "by": by}, small, judge=judge)

    async def ask():
        with budgeter.scope(ScopeKind.TURN, "1") as turn:
            await budgeter.ask(QUESTION)
            return turn.take_rows()

    assert measured(asyncio.run(ask())) == measured(budgeter.ledger.rows) == expected


def test_no_probabilities_are_no_confidence():
    """An endpoint that gives none is escalated from."""
    budgeter, _ = budgeter_of(LOGPROBS, ["7 km"])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "large"
    assert budgeter.ledger.rows[1].choice.reason == "escalated from small: no probabilities came"
    assert budgeter.statistics()["choose"]["default_without_confidence"] == 1


@pytest.mark.parametrize(
    "ending", [ServerFailed("500", status=500), ContentRefused("no"), "not in the form"]
)
def test_an_answer_that_cannot_be_used_is_escalated_from_immediately(ending):
    """Without a repair; those are the last model's."""
    budgeter, _ = budgeter_of(LOGPROBS, [ending], ["{}", '{"km": 7}'])
    call = replace(QUESTION, response_model=Distance, max_repairs=1)
    assert asyncio.run(budgeter.ask(call)).parsed == Distance(km=7)
    assert [row.model for row in budgeter.ledger.rows] == ["tiny", "big", "big"]


def test_a_fatal_error_ends_the_question():
    """As it ends any other call."""
    budgeter, _ = budgeter_of(LOGPROBS, [AuthFailed("401", status=401)])
    with pytest.raises(AuthFailed):
        asyncio.run(budgeter.ask(QUESTION))


def test_the_answer_is_kept_where_the_larger_model_is_refused():
    """And where it fails; the row of the refusal has the reason of the escalation."""
    unsure = told("7 km", -1.0, -0.5)
    budgeter, _ = budgeter_of(LOGPROBS, [unsure], limits=Limits(max_calls=1))
    assert asyncio.run(budgeter.ask(QUESTION)).text == "7 km"
    assert asked(budgeter) == [("tiny", 0, "served"), ("big", 1, "refused")]
    budgeter, _ = budgeter_of(LOGPROBS, [unsure], [ServerFailed("500", status=500)])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "7 km"
    assert budgeter.statistics()["choose"]["default_kept_small"] == 1
    assert measured(budgeter.ledger.rows) == [(0.4724, True), (None, False)]


def test_without_any_answer_the_error_is_the_last_model_s():
    """Nothing can be kept."""
    failing = [ServerFailed("500", status=500)]
    budgeter, _ = budgeter_of(LOGPROBS, failing, [ContentRefused("no")])
    with pytest.raises(ContentRefused):
        asyncio.run(budgeter.ask(QUESTION))


@pytest.mark.parametrize(
    ("answers", "taken"),
    [(["7", "7.0", " 7"], "7"), (["7", "8", "8"], "large"), (["no", "No.", "NO"], "no")],
)
def test_samples_that_agree_are_sure(answers, taken):
    """They are asked in one round, each a call with its own index, and agree by their values."""
    budgeter, clients = budgeter_of({**LOGPROBS, "by": "agreement"}, answers)
    assert asyncio.run(budgeter.ask(QUESTION)).text == taken
    assert [call.sample for call in clients["small"].calls] == [0, 1, 2]
    assert {row.end_round for row in budgeter.ledger.rows[:3]} == {1}
    assert len(budgeter.ledger.rows) == (4 if taken == "large" else 3)


def test_resamples_of_a_question_have_other_samples():
    """So no two of them are one request."""
    budgeter, clients = budgeter_of({**LOGPROBS, "by": "agreement"}, ["7"] * 6)
    asyncio.run(budgeter.ask(QUESTION))
    asyncio.run(budgeter.ask(QUESTION.resample(1)))
    assert [call.sample for call in clients["small"].calls] == [0, 1, 2, 3, 4, 5]


def test_an_unreadable_sample_agrees_with_none():
    """Its share counts against."""
    knobs = {**LOGPROBS, "by": "agreement", "confidence": 0.7, "agreement": {"tolerance": 0.1}}
    budgeter, _ = budgeter_of(knobs, ['{"km": 7}', '{"km": 7.1}', "?"], ['{"km": 9}'])
    call = replace(QUESTION, response_model=Distance)
    assert asyncio.run(budgeter.ask(call)).parsed == Distance(km=9)
    assert "confidence 0.6667 < 0.7" in budgeter.ledger.rows[-1].choice.reason


@pytest.mark.parametrize(("verdict", "taken"), [('{"good": 0.9}', "7 km"), ("{}", "large")])
def test_a_judge_s_call_is_counted(verdict, taken):
    """With the purpose `check`, and the judge's role. One that cannot be read is no confidence."""
    budgeter, clients = budgeter_of({**LOGPROBS, "by": "judge"}, ["7 km"], judge=[verdict])
    assert asyncio.run(budgeter.ask(QUESTION)).text == taken
    row = budgeter.ledger.rows[1]
    assert (row.role, row.purpose, row.model) == (Role.JUDGE, Purpose.CHECK, "wise")
    assert row.choice.reason == "checks the answer of small"
    assert "how far is it?" in clients["judge"].calls[0].messages[1].content


def test_a_judge_that_is_the_question_s_own_role_is_that_role_s_model():
    """And not that of the role `judge`, whose purpose the check has."""
    knobs = {**LOGPROBS, "by": "judge", "judge": "main"}
    budgeter, clients = budgeter_of(knobs, ["7 km"], ['{"good": 0.9}'])
    assert asyncio.run(budgeter.ask(QUESTION)).text == "7 km"
    assert (budgeter.ledger.rows[1].model, clients["judge"].calls) == ("big", [])


@pytest.mark.parametrize(("asked", "answer"), [("half \ud83d of it", "7"), ("it", "7 \udfff")])
def test_half_a_character_is_judged_too(asked, answer):
    """In the request and in the answer."""
    budgeter, clients = budgeter_of({**LOGPROBS, "by": "judge"}, [answer], judge=['{"good": 1}'])
    question = replace(QUESTION, messages=(Message("user", asked),))
    assert asyncio.run(budgeter.ask(question)).text == answer
    assert "\ufffd" in clients["judge"].calls[0].messages[1].content


def transfer(arguments):
    """Return a reply that calls a tool."""
    function = {"name": "transfer", "arguments": arguments}
    return Reply("", tool_calls=({"id": "1", "type": "function", "function": function},))


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        (['{"to": "Ada", "usd": 5}', '{"usd": 5.0, "to":"ada"}'], "taken_from_small"),
        (['{"to": "Ada Lovelace", "usd": 5}', '{"to": "Ada Lovelace", "usd": 50}'], "escalated"),
        (["[" * 900 + "1" + "]" * 900, "[" * 900 + "2" + "]" * 900], "escalated"),
        (["{" * 3000, "{" * 3000], "taken_from_small"),
    ],
)
def test_calls_of_a_tool_agree_where_their_arguments_do(arguments, outcome):
    """However they are written."""
    knobs = {**LOGPROBS, "by": "agreement", "samples": 2}
    budgeter, _ = budgeter_of(knobs, list(map(transfer, arguments)))
    tools = ({"type": "function", "function": {"name": "transfer", "parameters": {}}},)
    asyncio.run(budgeter.ask(replace(QUESTION, tools=tools)))
    assert budgeter.statistics()["choose"][f"default_{outcome}"] == 1


class Listening:
    """A listener that keeps what it is given."""

    def __init__(self):
        self.texts, self.ends = [], []

    def on_piece(self, piece):
        """Keep its text."""
        self.texts.append(piece.text)

    def on_end(self, end):
        """Keep its model."""
        self.ends.append(end.model)


@pytest.mark.parametrize(("logprob", "texts"), [(-0.01, ["7 ", "km"]), (-2.0, [])])
def test_pieces_are_given_out_once_their_answer_is_taken(logprob, texts):
    """Those of an answer that is replaced never are; each end is passed on."""
    reply = replace(told("7 km", logprob), chunks=("7 ", "km"))
    budgeter, _ = budgeter_of(LOGPROBS, [reply])
    listener = Listening()
    asyncio.run(budgeter.ask(replace(QUESTION, stream=True, listener=listener)))
    assert listener.texts == texts
    assert listener.ends == ["tiny"] if texts else ["tiny", "big"]


def test_the_first_answer_draws_on_the_lease():
    """The escalation is paid from what is free, so an answer is there where nothing is."""
    budgeter, _ = budgeter_of(
        {**LOGPROBS, "by": "agreement", "samples": 2}, ["7", "8"], limits=Limits(max_calls=2)
    )

    async def run():
        with budgeter.scope("turn", "0") as turn:
            turn.hold("reply", calls=1, role=Role.MAIN)
            return await budgeter.ask(replace(QUESTION, lease="reply"))

    assert asyncio.run(run()).text == "7"
    assert [outcome for *_, outcome in asked(budgeter)] == ["served", "served", "refused"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"models": ("small", "main", "small")}, "small is in `models` of the cascade twice"),
        ({"models": ("small",)}, "at least 2"),
        (
            {
                "calibration": [
                    {"model": "main", "by": "logprobs", "raw": [1], "chance": [1], "labels": 9}
                ]
            },
            "before its last model",
        ),
        (
            {
                "calibration": [
                    {
                        "model": "small",
                        "by": "logprobs",
                        "raw": [0, 1],
                        "chance": [1, 0],
                        "labels": 9,
                    }
                ]
            },
            "must not fall",
        ),
        (
            {
                "calibration": 2
                * [{"model": "small", "by": "logprobs", "raw": [1], "chance": [1], "labels": 9}]
            },
            "small is in `calibration` of the cascade twice; name each model once",
        ),
    ],
)
def test_knobs_that_cannot_work_are_refused(change, problem):
    """Before anything runs."""
    with pytest.raises(ValidationError, match=problem):
        CascadePolicy.model_validate({**LOGPROBS, **change})


def test_two_names_of_one_model_are_a_circle():
    """The larger model would be the small one again."""
    endpoint = Endpoint("s", "tiny", ScriptedClient())
    policies = {"default": CascadePolicy(models=("small", "other"))}
    with pytest.raises(ConfigError, match="circle"):
        Budgeter({Role.MAIN: endpoint, "small": endpoint, "other": endpoint}, policies=policies)


@pytest.mark.parametrize("by", ["logprobs", "agreement", "judge"])
def test_a_strict_replay_takes_the_same_steps(tmp_path, by):
    """With the same rows, at any concurrency."""
    questions = [replace(QUESTION, messages=(Message("user", str(n)),)) for n in range(12)]

    def small(call):
        number = int(call.messages[0].content)
        return told(str(number + (number % 2) * call.sample), -0.9 if number % 3 else -0.01)

    def judge(call):
        return '{"good": %s}' % ("0.9" if '"answer": "4"' in call.messages[1].content else "0.1")

    rows = []
    for mode in (CassetteMode.NEW_EPISODES, CassetteMode.STRICT, CassetteMode.STRICT):
        with open_cassette(tmp_path / f"{by}.jsonl", mode) as cassette:
            script = small if not rows else []
            large = (lambda _: "large") if not rows else []
            budgeter, _ = budgeter_of(
                {**LOGPROBS, "by": by}, script, large, judge if not rows else [], recorder=cassette
            )
            width = 1 if len(rows) == 1 else None
            replies = asyncio.run(budgeter.ask_all(questions, max_concurrency=width))
            kept = sorted(
                (row.key, row.choice, row.usage.output_tokens) for row in budgeter.ledger.rows
            )
            rows.append((kept, [reply.text for reply in replies]))
    assert rows[0] == rows[1] == rows[2]
    outcomes = {row.outcome for row in budgeter.ledger.rows}
    assert outcomes == {Outcome.REPLAYED}
    assert len({text for _, texts in rows for text in texts}) > 1
