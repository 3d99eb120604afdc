"""Two replies side by side."""

from typing import Any

import orjson
import pytest

from turnwise.calls import Call
from turnwise.testing.fakes import ScriptedClient
from turnwise.tune.quality.judged import Loss
from turnwise.tune.quality.pairwise import Pairwise, order_consistency

REFERENCES = {("talk", turn): "Oh." for turn in range(9)}


def _winner_is(text: str) -> Any:
    """Return a referee that always likes one text, wherever it stands."""

    def answer(call: Call) -> str:
        shown = orjson.loads(call.messages[1].content)["candidates"]
        labels = {candidate["reply"]: candidate["id"] for candidate in shown}
        return orjson.dumps({"reason": "", "winner": labels.get(text, "tie")}).decode()

    return answer


@pytest.mark.parametrize(("liked", "value"), [("Hm.", 1.0), ("Oh.", 0.0), ("else", 0.5)])
async def test_both_orders_are_asked_and_agree(
    opened: Any, item_of: Any, liked: str, value: float
) -> None:
    """A referee that reads what stands there says the same either way."""
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
    assert order_consistency(judged.scores) == 1.0
    shown = [orjson.loads(call.messages[1].content)["candidates"] for call in client.calls]
    assert [[each["reply"] for each in pair] for pair in shown] == [["Hm.", "Oh."], ["Oh.", "Hm."]]
    assert "reply" not in orjson.loads(client.calls[0].messages[1].content)


async def test_a_referee_that_likes_the_first_place_comes_to_a_tie(
    opened: Any, item_of: Any
) -> None:
    """What it said stays in the table, so that it can be counted."""
    client = ScriptedClient(lambda _: '{"winner": "A "}')
    async with opened(client) as referee:
        judged = await referee.judge(
            [item_of("Hm.", turn) for turn in (0, 1)], Pairwise(REFERENCES)
        )
    assert [score.value for score in judged.scores] == [1.0, 0.0, 1.0, 0.0]
    assert order_consistency(judged.scores) == 0.0
    assert order_consistency([]) is None
    assert order_consistency(judged.scores[:1]) is None


@pytest.mark.parametrize(
    ("reply", "reference", "value"),
    [("Oh.", "Oh.", 0.5), ("", "Oh.", 0.0), ("Hm.", " ", 1.0), ("", "", 0.5), (" ", "", 0.5)],
)
async def test_what_nobody_needs_to_read_is_settled(
    opened: Any, item_of: Any, reply: str, reference: str, value: float
) -> None:
    """The same text ties with itself, and an empty reply loses against any other."""
    client = ScriptedClient()
    async with opened(client) as referee:
        judged = await referee.judge([item_of(reply)], Pairwise({("talk", 0): reference}))
    assert [(score.order, score.value) for score in judged.scores] == [("", value)]
    assert client.sent_requests == 0


async def test_a_turn_without_a_reference_is_said(opened: Any, item_of: Any) -> None:
    """There is nothing to hold its replies against."""
    client = ScriptedClient(_winner_is("Hm."))
    async with opened(client) as referee:
        judged = await referee.judge([item_of("Hm.", 0), item_of("Hm.", 99)], Pairwise(REFERENCES))
    assert judged.losses == {Loss.NOT_JUDGEABLE: 1}
    assert [key[1] for key in judged.unscored] == [99]


async def test_one_order_that_cannot_be_read_takes_the_other_with_it(
    opened: Any, item_of: Any
) -> None:
    """Half a comparison is no score."""
    client = ScriptedClient(['{"winner": "a"}', '{"winner": "both"}', '{"winner": "both"}'])
    async with opened(client, max_concurrency=1) as referee:
        judged = await referee.judge([item_of("Hm.")], Pairwise(REFERENCES))
    assert judged.scores == ()
    assert judged.losses == {Loss.UNREADABLE: 1}
