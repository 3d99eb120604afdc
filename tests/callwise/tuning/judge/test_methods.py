"""Marks for one reply."""

from typing import Any

import orjson
import pytest

from callwise.calls import Call
from callwise.calls.errors import InvalidAnswer
from callwise.calls.structured import parse_answer
from callwise.testing.fakes import ScriptedClient
from callwise.tuning.judge.methods import Pairwise, Pointwise, marks_model
from callwise.tuning.judge.referee import LostScore
from callwise.tuning.judge.reliability import reliability_of


@pytest.mark.parametrize(
    ("raw", "mark"),
    [
        ("7", 7.0),
        ("7.5", 7.5),
        ('"8"', 8.0),
        ("1", 1.0),
        ("10.0", 10.0),
        ('"7/10"', 7.0),
        ("[7]", 7.0),
        ("0", 1.0),
        ("11", 10.0),
    ],
)
def test_a_mark_is_read_as_it_was_meant(raw: str, mark: float) -> None:
    """Asked for as a whole number; halves and numbers in quotes are marks, a slip is clamped."""
    answer = parse_answer(f'{{"wit": {raw}}}', marks_model(("wit",)))
    assert answer.model_dump()["wit"] == mark


@pytest.mark.parametrize(
    "raw", ["-20", "75", "null", "true", '"high"', '"nan"', "[7, 8]", "{}", "1e999"]
)
def test_what_is_no_mark_does_not_fit(raw: str) -> None:
    """A number far out of the range is on another scale: to clip it would invent a mark."""
    with pytest.raises(InvalidAnswer):
        parse_answer(f'{{"wit": {raw}}}', marks_model(("wit",)))


def test_the_form_asks_for_whole_numbers_in_range() -> None:
    """A provider that enforces the schema cannot answer anything else; a reason may be missing."""
    schema = marks_model(("wit",)).model_json_schema()
    assert schema["properties"]["wit"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
        "title": "Wit",
    }
    assert schema["required"] == ["wit"]
    assert marks_model(("wit",)) is marks_model(("wit",))


def test_first_passes_come_before_repeats(item_of: Any) -> None:
    """A budget that ends early leaves out repeats before it leaves out replies."""
    passes = Pointwise(repeats=2).passes([item_of("a"), item_of("b")])
    assert [(judge_pass.repeat, judge_pass.item.reply) for judge_pass in passes] == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]


@pytest.mark.parametrize(
    ("user_text", "language", "expected"),
    [("Hello.", None, "en"), ("你好", None, "zh"), ("你好", "en", "en"), ("Hello.", "zh-CN", "zh")],
)
def test_a_referee_is_addressed_in_the_users_language(
    item_of: Any, user_text: str, language: str | None, expected: str
) -> None:
    """As the turn names it, or by its script."""
    method = Pointwise()
    (judge_pass,) = method.passes([item_of("Hm.", user_text=user_text, language=language)])
    assert judge_pass.questions[0].call.messages[0].content == method.rubric.text(expected)


REFERENCES = {("talk", turn): "Oh." for turn in range(9)}


def _winner_is(text: str) -> Any:
    """Return a referee that always likes one text, in either position."""

    def answer(call: Call) -> str:
        shown = orjson.loads(call.messages[1].content)["candidates"]
        labels = {candidate["reply"]: candidate["id"] for candidate in shown}
        return orjson.dumps({"reason": "", "winner": labels.get(text, "tie")}).decode()

    return answer


@pytest.mark.parametrize(("liked", "value"), [("Hm.", 1.0), ("Oh.", 0.0), ("else", 0.5)])
async def test_both_orders_are_asked_and_agree(
    opened: Any, item_of: Any, liked: str, value: float
) -> None:
    """A referee that reads the texts gives the same verdict either way."""
    client = ScriptedClient(_winner_is(liked))
    async with opened(client) as referee:
        judged = await referee.judge([item_of("Hm.")], Pairwise(REFERENCES))
    assert [(score.order, score.value) for score in judged.scores] == [
        ("first", value),
        ("second", value),
    ]
    assert {score.by for score in judged.scores} == {"referee:ref-1:pairwise"}
    assert {score.kind for score in judged.scores} == {"pairwise"}
    assert {(score.scale_low, score.scale_high) for score in judged.scores} == {(0.0, 1.0)}
    assert reliability_of(judged.scores).order_consistency.mean == 1.0
    shown = [orjson.loads(call.messages[1].content)["candidates"] for call in client.calls]
    assert [[each["reply"] for each in pair] for pair in shown] == [["Hm.", "Oh."], ["Oh.", "Hm."]]
    assert "reply" not in orjson.loads(client.calls[0].messages[1].content)


async def test_a_referee_that_likes_the_first_place_comes_to_a_tie(
    opened: Any, item_of: Any
) -> None:
    """Its verdicts stay in the table, so that they can be counted."""
    client = ScriptedClient(lambda _: '{"winner": "A "}')
    async with opened(client) as referee:
        judged = await referee.judge(
            [item_of("Hm.", turn) for turn in (0, 1)], Pairwise(REFERENCES)
        )
    assert [score.value for score in judged.scores] == [1.0, 0.0, 1.0, 0.0]
    assert reliability_of(judged.scores).order_consistency.mean == 0.0
    assert reliability_of(judged.scores[:1]).order_consistency is None


@pytest.mark.parametrize(
    ("reply", "reference", "value"),
    [("Oh.", "Oh.", 0.5), ("", "Oh.", 0.0), ("Hm.", " ", 1.0), ("", "", 0.5), (" ", "", 0.5)],
)
async def test_what_needs_no_reading_is_settled(
    opened: Any, item_of: Any, reply: str, reference: str, value: float
) -> None:
    """The same text ties with itself, and an empty reply loses against any other."""
    client = ScriptedClient()
    async with opened(client) as referee:
        judged = await referee.judge([item_of(reply)], Pairwise({("talk", 0): reference}))
    assert [(score.order, score.value) for score in judged.scores] == [("", value)]
    assert client.sent_requests == 0


async def test_a_turn_without_a_reference_is_named(opened: Any, item_of: Any) -> None:
    """There is nothing to compare its replies with."""
    client = ScriptedClient(_winner_is("Hm."))
    async with opened(client) as referee:
        judged = await referee.judge([item_of("Hm.", 0), item_of("Hm.", 99)], Pairwise(REFERENCES))
    assert judged.losses == {LostScore.NOT_JUDGEABLE: 1}
    assert [key[1] for key in judged.unscored] == [99]


async def test_one_order_that_cannot_be_read_takes_the_other_with_it(
    opened: Any, item_of: Any
) -> None:
    """Half a comparison is no score."""
    client = ScriptedClient(['{"winner": "a"}', '{"winner": "both"}', '{"winner": "both"}'])
    async with opened(client, max_concurrency=1) as referee:
        judged = await referee.judge([item_of("Hm.")], Pairwise(REFERENCES))
    assert judged.scores == ()
    assert judged.losses == {LostScore.UNREADABLE: 1}
