"""Recorded choices: a strict replay decides nothing again, and another table decides all of it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import Budgeter, ManualClock
from callwise.budget.policies import complexity, route
from callwise.calls import Call, ConfigError, Endpoint, Message, Prices, Purpose, Role
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.calls.policies import ComplexityKnobs, RouteEntry, RoutePolicy
from callwise.calls.reply import Reply
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.replay_run import RunRecorder
from callwise.testing.fakes import ScriptedClient

ONLY_LENGTH = ComplexityKnobs(task=0, messages=0, form=0, seconds=0, full_tokens=100)
TABLE = RoutePolicy(
    table=(
        RouteEntry(model="small", max_complexity=0.5, quality=0.4),
        RouteEntry(model="large", quality=0.8),
    ),
    complexity=ONLY_LENGTH,
)
SAVING = TABLE.model_copy(update={"save_below": 0.5})


class Score(BaseModel):
    """An answer that needs a form."""

    score: float


def call_of(text):
    """Return a judge's call."""
    return Call(Role.JUDGE, Purpose.JUDGE, (Message("user", text),))


def budgeter_of(policy, recorder=None, *, answer=None, max_calls=None):
    """Return a budgeter of two models whose answers differ each time."""
    counts = {"small": 0, "large": 0}

    def client(name):
        def reply(_call):
            counts[name] += 1
            return Reply(f"{name} {counts[name]}")

        return ScriptedClient(answer or reply)

    endpoints = {
        Role.MAIN: Endpoint("a", "large", client("large"), Prices(10, 40)),
        Role.JUDGE: Endpoint("a", "large", client("large"), Prices(10, 40)),
        "small": Endpoint("b", "small", client("small"), Prices(1, 4)),
        "large": Endpoint("a", "large", client("large"), Prices(10, 40)),
    }
    return Budgeter(
        endpoints,
        policies={} if policy is None else {"judge": policy},
        clock=ManualClock(),
        recorder=recorder,
        limits={"max_calls": max_calls},
    )


def played(path, policy, texts, mode=CassetteMode.STRICT, **options):
    """Return the models, answers and choices of calls that are asked in one turn."""
    with open_cassette(path, mode) as cassette:
        budgeter = budgeter_of(policy, RunRecorder(cassette), **options)
        with budgeter.scope("turn", "1"):
            replies = asyncio.run(budgeter.ask_all([call_of(text) for text in texts]))
        rows = sorted(budgeter.ledger.rows, key=lambda row: row.sequence)
        return [(row.model, row.choice) for row in rows], [reply.text for reply in replies]


def test_a_strict_replay_takes_the_recorded_choice_where_it_would_decide_otherwise(
    tmp_path, monkeypatch
):
    """Also after the code of complexity has changed."""
    path, texts = tmp_path / "c.jsonl", ["a" * 100, "b" * 400]
    recorded = played(path, TABLE, texts, CassetteMode.NEW_EPISODES)
    assert [model for model, _ in recorded[0]] == ["small", "large"]

    def changed(*_given, **_also):
        return complexity.Complexity(1.0, ())

    monkeypatch.setattr(route, "complexity_of", changed)
    assert played(path, TABLE, texts) == recorded
    assert played(tmp_path / "other.jsonl", TABLE, texts, CassetteMode.NEW_EPISODES) != recorded


def test_a_strict_replay_takes_it_where_another_amount_is_left(tmp_path):
    """The limit of a replay is not what was left when the call was asked."""
    path, texts = tmp_path / "c.jsonl", [each * 400 for each in "abcd"]
    recorded = played(path, SAVING, texts, CassetteMode.NEW_EPISODES, max_calls=4)
    assert [model for model, _ in recorded[0]] == ["large", "large", "large", "small"]
    assert played(path, SAVING, texts) == recorded
    with pytest.raises(CassetteMiss):
        played(path, TABLE, texts)


def test_another_table_or_price_decides_again(tmp_path):
    """Its choices are not those of the recording, and calls that it asks elsewhere are missed."""
    path, texts = tmp_path / "c.jsonl", ["a" * 100]
    played(path, TABLE, texts, CassetteMode.NEW_EPISODES)
    large = TABLE.model_copy(update={"table": TABLE.table[1:]})
    with pytest.raises(CassetteMiss):
        played(path, large, texts)
    same = TABLE.model_copy(update={"min_quality": 0.3})
    ((model, choice),), _ = played(path, same, texts)
    assert model == "small"
    with open_cassette(path) as cassette:
        (recorded,) = (fields["choice"] for _, fields in cassette._file.readable())
    assert choice.table != recorded["table"]
    assert choice.asked == recorded["asked"]


def test_equal_questions_take_their_choices_in_order(tmp_path):
    """By what was left, the last one was asked elsewhere than the others."""
    path, texts = tmp_path / "c.jsonl", ["a" * 400] * 4
    recorded = played(path, SAVING, texts, CassetteMode.NEW_EPISODES, max_calls=4)
    assert [model for model, _ in recorded[0]] == ["large", "large", "large", "small"]
    assert played(path, SAVING, texts) == recorded
    assert played(path, SAVING, texts[:3]) == (recorded[0][:3], recorded[1][:3])


def test_a_repair_has_no_other_choice(tmp_path):
    """It is asked by the choice of the call that it repairs."""
    path = tmp_path / "c.jsonl"
    call = Call(Role.JUDGE, Purpose.JUDGE, (Message("user", "a" * 100),), response_model=Score)
    rows = []
    for mode in (CassetteMode.NEW_EPISODES, CassetteMode.STRICT):
        answers = iter(['{"score": "none"}', '{"score": 1}', '{"score": 2}'])
        with open_cassette(path, mode) as cassette:
            budgeter = budgeter_of(TABLE, cassette, answer=lambda _, made=answers: next(made))
            for _ in range(2):
                asyncio.run(budgeter.ask(call))
            rows.append([(row.model, row.repair, row.choice) for row in budgeter.ledger.rows])
            assert cassette.statistics().left_count == 0
    assert rows[0] == rows[1]
    assert [repair for _, repair, _ in rows[0]] == [0, 1, 0]


def test_normalised_prompts_find_their_choice(tmp_path):
    """A question has the key of its normalised prompt, as exchanges have."""
    path, seen = tmp_path / "c.jsonl", []
    rule = r"\d\d:\d\d"
    for mode, text in ((CassetteMode.NEW_EPISODES, "at 10:00"), (CassetteMode.STRICT, "at 11:30")):
        with open_cassette(path, mode, normalise=[rule]) as cassette:
            budgeter = budgeter_of(TABLE, cassette)
            asyncio.run(budgeter.ask(call_of(text)))
            seen += [row.choice for row in budgeter.ledger.rows]
    assert seen[0] == seen[1]


def test_a_choice_that_was_changed_is_a_damaged_line_and_not_followed(tmp_path):
    """It is named as any other change that was not sealed."""
    path = tmp_path / "c.jsonl"
    played(path, TABLE, ["a" * 100], CassetteMode.NEW_EPISODES)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"model":"small","reason"', '"model":"large","reason"'))
    assert path.read_text(encoding="utf-8") != whole
    with pytest.raises(FormatError, match="checksum"):
        played(path, TABLE, ["a" * 100])


def test_a_recorded_model_that_is_not_there_is_an_error(tmp_path):
    """A recording names models as it likes."""
    path = tmp_path / "c.jsonl"
    played(path, TABLE, ["a"], CassetteMode.NEW_EPISODES)
    budgeter = budgeter_of(TABLE)
    choice = asyncio.run(_choice_of(budgeter))._replace(model="../elsewhere")

    class Recorder:
        def lookup(self, *_):
            return None

        def record(self, *_):
            raise AssertionError

        def asked_key(self, key, *_):
            return key

        def recorded_choice(self, *_, **__):
            return choice

    with pytest.raises(ConfigError, match=r"elsewhere', which is not in `models`"):
        asyncio.run(budgeter_of(TABLE, Recorder()).ask(call_of("a")))


async def _choice_of(budgeter):
    await budgeter.ask(call_of("a"))
    return budgeter.ledger.rows[0].choice


@given(
    lengths=st.lists(st.sampled_from([10, 190, 210, 400]), min_size=1, max_size=12),
    max_calls=st.integers(1, 12),
    recorded_at=st.integers(1, 12),
    played_at=st.integers(1, 12),
)
@settings(max_examples=40, deadline=None)
def test_a_replay_is_the_run_at_any_concurrency(
    tmp_path_factory, lengths, max_calls, recorded_at, played_at
):
    """Equal questions, refusals and savings among them; under limits that decide otherwise too."""
    path = tmp_path_factory.mktemp("c") / "c.jsonl"
    calls = [call_of("a" * length) for length in lengths]
    ends = []
    for mode, concurrency, limit in (
        (CassetteMode.NEW_EPISODES, recorded_at, max_calls),
        (CassetteMode.STRICT, played_at, max_calls),
    ):
        with open_cassette(path, mode) as cassette:
            budgeter = budgeter_of(SAVING, cassette, max_calls=limit)
            with budgeter.scope("turn", "1"):
                replies = asyncio.run(budgeter.ask_all(calls, max_concurrency=concurrency))
            rows = sorted(budgeter.ledger.rows, key=lambda row: row.sequence)
            ends.append(
                ([(row.key, row.choice) for row in rows], list(map(str, map(_end, replies))))
            )
    assert ends[0] == ends[1]


def _end(reply):
    return reply.text if isinstance(reply, Reply) else f"{type(reply).__name__}"
