"""Parts of a fused answer: each usable or not by itself."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from callwise.calls import Purpose, Role, Sampling
from callwise.calls.errors import AuthFailed, CallRefused, ServerFailed
from callwise.calls.schema import response_schema, schema_format
from callwise.testing.fakes import ScriptedLLM
from nodes.fused_calls import (
    Fused,
    FusedAnswer,
    Missing,
    UnusablePart,
    ask_fused,
    part,
    unusable_parts,
    usable,
)
from nodes.question import Question, Tokens
from nodes.turn import TurnView


class Left(BaseModel):
    """A part with a field that must be there."""

    name: str


class Right(BaseModel):
    """A part with a number."""

    size: int


class Both(FusedAnswer):
    """An answer of two parts."""

    left: Annotated[Left | UnusablePart, part(Left)] = Missing
    right: Annotated[Right | UnusablePart, part(Right)] = Missing


QUESTION = Question(
    node="left_node",
    role=Role.MAIN,
    purpose=Purpose.FUSE,
    prompt="fused_thinking",
    answer=Both,
    fields=("chat",),
    sampling=Sampling(),
    tokens=Tokens(1, 1),
    convert=lambda answer, _view: Fused({"answer": answer}, unusable_parts(answer)),
    fallback=lambda _view: None,
    speaks_for=("left_node", "right_node"),
)


async def ask(answer):
    """Ask for both parts once."""
    return await ask_fused(ScriptedLLM({Purpose.FUSE: answer}), QUESTION, TurnView())


def test_a_part_that_does_not_fit_spoils_no_other():
    """The one is read by its own model, the other says what is wrong with it."""
    answer = Both.model_validate({"left": {"name": "a"}, "right": {"size": "many"}})
    assert usable(answer.left) == Left(name="a")
    assert usable(answer.right) is None
    assert "size" in unusable_parts(answer)["right"]


@pytest.mark.parametrize("right", [None, "words", [1], {}, 7])
def test_any_value_of_a_part_is_read(right):
    """Null, a text, a list, an empty object or a number is an unusable part and no error."""
    answer = Both.model_validate({"left": {"name": "a"}, "right": right})
    assert set(unusable_parts(answer)) == {"right"}


def test_a_missing_part_is_unusable():
    """Left out is as good as wrong: its own node asks."""
    assert unusable_parts(Both.model_validate({"left": {"name": "a"}})) == {
        "right": "it is missing"
    }


def test_an_answer_without_a_usable_part_is_no_answer():
    """The problem of each part is named, for the repair to quote."""
    with pytest.raises(ValidationError, match=r"left: it is missing; right: size"):
        Both.model_validate({"right": {"size": None}})


def test_the_schema_asks_for_every_part_and_allows_no_null():
    """A provider that enforces schemas cannot leave a part out."""
    for schema in (response_schema(Both), schema_format(Both)["json_schema"]["schema"]):
        assert schema["required"] == ["left", "right"]
        assert schema["properties"]["left"] == {"$ref": "#/$defs/Left"}


async def test_a_whole_answer_says_nothing_else():
    """No degradation where every part is usable."""
    found, rows = await ask({"left": {"name": "a"}, "right": {"size": 2}})
    answer = found["answer"]
    assert (usable(answer.left), usable(answer.right), list(rows)) == (
        Left(name="a"),
        Right(size=2),
        [],
    )


async def test_a_part_to_be_asked_apart_is_said_of_its_node():
    """Under the node that will ask, and with what was wrong."""
    found, (row,) = await ask({"left": {"name": "a"}})
    assert usable(found["answer"].left) is not None
    assert (row.node, row.reason) == ("right_node", "invalid")
    assert row.detail == "fused part 'right', asked apart: it is missing"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CallRefused("turn", "max_calls", 1, 1, 1), "refused"),
        (ServerFailed("down"), "failed"),
        ("no object at all", "invalid"),
    ],
)
async def test_no_answer_is_said_once_of_the_node_that_asked(answer, reason):
    """Whatever ended the call, there is one degradation with its reason."""
    fused, (row,) = await ask(answer)
    assert fused == {}
    assert (row.node, row.reason) == ("left_node", reason)
    assert row.detail.startswith("no fused answer, asked apart: ")


async def test_a_fatal_error_is_raised():
    """Separate calls would meet it again."""
    with pytest.raises(AuthFailed):
        await ask(AuthFailed("who are you"))
