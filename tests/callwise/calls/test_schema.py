"""The strict form of a response model's schema."""

import json
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, Field

from callwise.calls.schema import schema_format, schema_prompt

T = TypeVar("T")


class Mood(StrEnum):
    """A closed set."""

    GOOD = "good"
    BAD = "bad"


class Inner(BaseModel):
    """A nested object."""

    mood: Mood = Mood.GOOD


class Cat(BaseModel):
    """One side of a union."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """The other side."""

    kind: Literal["dog"]


class Outer(BaseModel):
    """With names that are also keywords of JSON Schema."""

    title: str = Field(default="x", description="its title")
    default: int | None = None
    required: bool
    properties: list[Inner] = []
    one: Inner = Field(default=Inner(), description="why it is there")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    """A model that contains itself."""

    children: list["Tree"] = []


class Free(BaseModel):
    """An object with free keys, which the strict form cannot say."""

    counts: dict[str, int] = {}


class Empty(BaseModel):
    """No fields at all."""


class Box(BaseModel, Generic[T]):
    """A generic model, whose name is no identifier."""

    item: T


def schema_of(model):
    """Return the value of `json_schema`."""
    return schema_format(model)["json_schema"]


def objects_in(node):
    """Yield every object schema, at any depth."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for key, child in node.items():
            yield from objects_in(list(child.values()) if key in {"properties", "$defs"} else child)
    elif isinstance(node, list):
        for item in node:
            yield from objects_in(item)


@pytest.mark.parametrize("model", [Outer, Tree, Empty, Box[int], Cat])
def test_every_object_is_closed_and_requires_everything(model):
    """As strict mode demands, at every depth."""
    document = schema_of(model)
    assert document["strict"]
    found = list(objects_in(document["schema"]))
    assert found
    for node in found:
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])


def test_fields_named_like_keywords_stay():
    """`title` and `default` are dropped as keywords and kept as fields."""
    schema = schema_of(Outer)["schema"]
    assert list(schema["properties"]) == [
        "title",
        "default",
        "required",
        "properties",
        "one",
        "pet",
    ]
    assert schema["properties"]["title"] == {"type": "string", "description": "its title"}
    assert "title" not in schema


def test_a_reference_has_no_other_key():
    """Its sibling keys become siblings of an `anyOf` instead."""
    one = schema_of(Outer)["schema"]["properties"]["one"]
    assert one == {"description": "why it is there", "anyOf": [{"$ref": "#/$defs/Inner"}]}


def test_a_union_is_any_of():
    """`oneOf` and its discriminator are not known to strict mode."""
    pet = schema_of(Outer)["schema"]["properties"]["pet"]
    assert pet == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}


def test_a_model_that_contains_itself_has_an_object_at_its_root():
    """A reference cannot stand there."""
    schema = schema_of(Tree)["schema"]
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_free_keys_make_it_not_strict():
    """The endpoint then takes the schema as a hint, and the answer is validated anyway."""
    assert not schema_of(Free)["strict"]
    counts = schema_of(Free)["schema"]["properties"]["counts"]
    assert counts["additionalProperties"] == {"type": "integer"}


def test_the_name_is_one_that_endpoints_take():
    """Letters, digits, `_` and `-` only."""
    assert schema_of(Box[int])["name"] == "Box_int_"
    assert schema_of(Box[int])["schema"]["properties"] == {"item": {"type": "integer"}}


def test_the_schema_of_a_model_is_not_changed():
    """The strict form is a copy."""
    before = json.dumps(Outer.model_json_schema())
    schema_format(Outer)
    schema_prompt(Outer)
    assert json.dumps(Outer.model_json_schema()) == before


def test_the_instruction_names_json_and_has_the_schema():
    """JSON mode of some endpoints insists on the word."""
    words = schema_prompt(Cat)
    assert "JSON" in words
    assert json.loads(words.partition("\n")[2])["required"] == ["kind"]
