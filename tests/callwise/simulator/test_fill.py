"""Every answer fits its schema, and follows the conventions on names."""

import datetime as dt
import json
import re
import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.capabilities import Capabilities
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedModel, SimulatedSettings
from callwise.simulator.forms import REFUSED_KEYWORDS, SchemaRefused, compile_schema


class Mood(StrEnum):
    """A closed set."""

    CALM = "calm"
    SAD = "sad"


class Scalars(BaseModel):
    """Limits of numbers."""

    a: int
    b: Annotated[int, Field(ge=3, le=3)]
    c: Annotated[int, Field(gt=0, lt=2)]
    d: Annotated[float, Field(gt=0, lt=0.001)]
    e: Annotated[float, Field(ge=-1, le=1)]
    f: Annotated[int, Field(ge=-10, le=-5)]
    g: Annotated[int, Field(multiple_of=5, ge=11, le=20)]
    h: Annotated[float, Field(multiple_of=0.25, gt=0)]
    i: Annotated[float, Field(le=-3)]
    j: bool


class Texts(BaseModel):
    """Lengths and patterns."""

    a: Annotated[str, Field(min_length=200, max_length=220)]
    b: Annotated[str, Field(max_length=5)]
    reply: Annotated[str, Field(max_length=30)]
    evidence: Annotated[str, Field(min_length=10, max_length=12)]
    slug: Annotated[str, Field(pattern=r"^[a-z_]+$", max_length=12)]
    code: Annotated[str, Field(pattern=r"^c\d+$")]
    empty: Annotated[str, Field(max_length=0)]


class Closed(BaseModel):
    """Closed sets."""

    model_config = ConfigDict(extra="forbid")
    mood: Mood
    one: Literal["only"]
    mixed: Literal["a", 1] | None
    moods: Annotated[list[Mood], Field(min_length=1, max_length=2)]


class Nullable(BaseModel):
    """Nullable fields."""

    a: int | None = None
    b: list[str] | None
    c: Mood | None
    d: float | str | None
    e: None = None


class Arrays(BaseModel):
    """Lists, sets and tuples."""

    a: Annotated[list[int], Field(min_length=4, max_length=4)]
    b: Annotated[set[int], Field(min_length=3)]
    c: tuple[int, str, bool]
    d: list[list[float]]
    e: Annotated[list[str], Field(max_length=0)]
    f: tuple[Mood, ...]
    g: Annotated[set[Mood], Field(min_length=2)]
    h: list[Any]


class Stamps(BaseModel):
    """Formatted strings."""

    day: dt.date
    moment: dt.datetime
    clock: dt.time
    span: dt.timedelta
    ident: uuid.UUID


class Inner(BaseModel):
    """A part."""

    text: str
    weight: Annotated[float, Field(ge=0, le=1)]


class Nested(BaseModel):
    """Objects in objects."""

    inner: Inner
    many: list[Inner]
    maybe: Inner | None
    by_name: dict[str, Inner]
    numbers: Annotated[dict[str, int], Field(min_length=3)]
    free: dict[str, Any]


class Cat(BaseModel):
    """One option of a union."""

    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    """The other option."""

    kind: Literal["dog"]
    tricks: list[str]


class Tagged(BaseModel):
    """Unions, with and without a tag."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog]
    either: int | str | Cat


class Tree(BaseModel):
    """A recursive model."""

    label: str
    left: "Tree | None" = None
    children: list["Tree"]


class Chain(BaseModel):
    """A model that only holds itself."""

    next_link: "Chain | None"


class Empty(BaseModel):
    """No fields at all."""


class Candidate(BaseModel):
    """One proposal."""

    strategy_tag: str
    reply: str
    probability: Annotated[float, Field(ge=0, le=1)]


class Candidates(BaseModel):
    """The answer of an expansion."""

    candidates: Annotated[list[Candidate], Field(min_length=1, max_length=6)]


class Verdict(BaseModel):
    """One line of a judge."""

    id: str
    overall: Annotated[float | None, Field(ge=0, le=1)]
    plan_alignment: Annotated[float | None, Field(ge=0, le=1)]
    assistantness: Annotated[float | None, Field(ge=0, le=1)]
    is_assistant_like: bool
    rank: Annotated[int, Field(ge=1)]


class Listwise(BaseModel):
    """The answer of a listwise judge."""

    reason: str
    verdicts: list[Verdict]
    ranking: list[str]
    best: str


class ScoresById(BaseModel):
    """Scores as a map."""

    scores: dict[str, Annotated[float, Field(ge=1, le=10)]]


class Bubble(BaseModel):
    """One chat bubble."""

    text: str
    delay_seconds: Annotated[float, Field(ge=0)]


class ProcessorPlan(BaseModel):
    """Bubbles with delays."""

    bubbles: tuple[Bubble, ...]


class Spoken(BaseModel):
    """A reply in three forms."""

    reply: str
    messages: Annotated[list[str], Field(min_length=1, max_length=3)]
    processor_plan: ProcessorPlan | None


class Note(BaseModel):
    """A note with its proof."""

    text: str
    kind: Literal["fact", "event"]
    evidence: str


class Memory(BaseModel):
    """The answer of a memory keeper."""

    summary: str
    notes: list[Note]
    closeness: Annotated[float, Field(ge=-1, le=1)]
    language: str


MODELS = [
    Scalars,
    Texts,
    Closed,
    Nullable,
    Arrays,
    Stamps,
    Nested,
    Tagged,
    Tree,
    Chain,
    Empty,
    Candidates,
    Listwise,
    ScoresById,
    Spoken,
    Memory,
]

MATERIALS = [
    {},
    {"user_text": ""},
    {"language": "zh", "user_text": "今天老板又让我加班，我有点烦。", "count": 4},
    {"user_text": '“Hi”... {x} \n\n {"a": 1} 🙂', "reply": "ok", "parent": {"reply": "nope"}},
    {"user_text": 7, "candidates": [{"id": 3, "reply": "a"}, {"id": "y"}, "b", None], "count": "3"},
    {"turn": {"user": "I moved to Lyon."}, "candidates": {"c1": "x"}, "parents": ["a", {}]},
]


def answer_of(model, material, *, seed=0, sample=0, schema_mode="json_schema"):
    """Return an answer, validated."""
    messages = (Message("system", "s"), Message("user", json.dumps(material)))
    call = Call(Role.MAIN, Purpose.OTHER, messages, response_model=model)
    body = chat_body(call, model="m", capabilities=Capabilities(schema_mode=schema_mode))
    return model.model_validate_json(SimulatedModel(seed).answer(body, sample).text)


_OF_LENGTHS = {Texts, Arrays}
"""Forms with lengths of texts or sets, which the strict schema leaves out."""


@pytest.mark.parametrize(
    ("model", "schema_mode"),
    [
        pytest.param(model, mode, id=f"{mode}-{model.__name__}")
        for mode in ("json_schema", "json_object", "prompt")
        for model in MODELS
        if mode != "json_schema" or model not in _OF_LENGTHS
    ],
)
def test_answers_of_many_forms_are_valid(model, schema_mode):
    """Any seed, any material, any way to give the schema: the answer validates."""
    for seed in range(4):
        for material in MATERIALS:
            answer_of(model, material, seed=seed, schema_mode=schema_mode)


_SCALARS = st.one_of(
    st.just(str),
    st.just(bool),
    st.just(float),
    st.tuples(st.integers(-50, 50), st.integers(0, 60)).map(
        lambda pair: Annotated[int, Field(ge=pair[0], le=pair[0] + pair[1])]
    ),
    st.tuples(st.floats(-5, 5), st.floats(0.01, 8)).map(
        lambda pair: Annotated[float, Field(gt=pair[0], lt=pair[0] + pair[1])]
    ),
    st.tuples(st.integers(0, 40), st.integers(0, 80)).map(
        lambda pair: Annotated[str, Field(min_length=pair[0], max_length=pair[0] + pair[1])]
    ),
    st.lists(st.sampled_from(["a", "b", "c", 1, 2]), min_size=1, max_size=4, unique=True).map(
        lambda values: Literal[tuple(values)]
    ),
)

_NAMES = st.sampled_from(
    [
        "reply",
        "text",
        "messages",
        "candidates",
        "strategy",
        "id",
        "best",
        "rank",
        "scores",
        "verdicts",
        "ranking",
        "evidence",
        "goals",
        "score",
        "persona",
        "assistantness",
        "risk",
        "delta",
        "delay_seconds",
        "language",
        "topic",
        "hostility",
        "other",
        "plan",
    ]
)


def _wrapped(inner):
    return st.one_of(
        inner.map(lambda kind: kind | None),
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda three: Annotated[
                list[three[0]], Field(min_length=three[1], max_length=three[1] + three[2])
            ]
        ),
        inner.map(lambda kind: dict[str, kind]),
        st.dictionaries(_NAMES, inner, min_size=1, max_size=4).map(
            lambda fields: create_model(
                "Part", **{name: (kind, ...) for name, kind in fields.items()}
            )
        ),
    )


@given(
    fields=st.dictionaries(
        _NAMES, st.recursive(_SCALARS, _wrapped, max_leaves=6), min_size=1, max_size=6
    ),
    seed=st.integers(0, 2**32),
    material=st.sampled_from(MATERIALS),
)
def test_answers_of_generated_forms_are_valid(fields, seed, material):
    """Whatever a response model is made of, the answer validates.

    The schema is given as text, where it has lengths of texts too.
    """
    model = create_model("Generated", **{name: (kind, ...) for name, kind in fields.items()})
    answer_of(model, material, seed=seed, schema_mode="prompt")


def test_as_many_candidates_as_asked_with_distinct_strategies(chinese):
    """`count` decides, inside the schema's limits, and neither tags nor replies repeat."""
    for count in (1, 3, 6, 9):
        answer = answer_of(Candidates, {**chinese, "count": count})
        assert len(answer.candidates) == min(count, 6)
        assert len({c.strategy_tag for c in answer.candidates}) == len(answer.candidates)
        assert len({c.reply for c in answer.candidates}) == len(answer.candidates)


def test_strategies_already_used_are_left_out(english):
    """Tags in `strategies_used` do not come again."""
    used = [c.strategy_tag for c in answer_of(Candidates, {**english, "count": 6}).candidates]
    again = answer_of(Candidates, {**english, "count": 6, "strategies_used": used})
    assert not {c.strategy_tag for c in again.candidates} & set(used)


def test_verdicts_name_each_candidate_once(english):
    """Verdicts come in the order shown, the ranking is a permutation, the best leads it."""
    shown = [{"id": f"v{i}", "reply": f"reply number {i}"} for i in range(5)]
    answer = answer_of(Listwise, {**english, "candidates": shown})
    assert [verdict.id for verdict in answer.verdicts] == ["v0", "v1", "v2", "v3", "v4"]
    assert sorted(answer.ranking) == ["v0", "v1", "v2", "v3", "v4"]
    assert answer.best == answer.ranking[0]
    by_rank = sorted(answer.verdicts, key=lambda verdict: verdict.rank)
    assert [verdict.id for verdict in by_rank] == answer.ranking


def test_scores_by_id_use_the_range_of_the_schema(english):
    """A map of scores has the candidates' ids as keys."""
    shown = [{"id": "a", "reply": "x"}, {"id": "b", "reply": "y"}]
    answer = answer_of(ScoresById, {**english, "candidates": shown})
    assert set(answer.scores) == {"a", "b"}


def test_bubbles_join_to_the_reply(english, chinese):
    """All forms of a reply in one answer hold the same words."""
    for material, joint in ((english, " "), (chinese, "")):
        answer = answer_of(Spoken, material)
        assert joint.join(answer.messages) == answer.reply
        assert joint.join(bubble.text for bubble in answer.processor_plan.bubbles) == answer.reply


def test_a_given_reply_is_not_rewritten(english):
    """Material with a `reply` gets that reply back, cut."""
    reply = answer_of(Candidates, english).candidates[0].reply
    assert answer_of(Spoken, {**english, "reply": reply}).reply == reply


def test_evidence_is_verbatim_as_often_as_set(english, body_of):
    """Quotes stand in the user's text, but for the set share."""
    total = missed = 0
    model = SimulatedModel(settings=SimulatedSettings(evidence_miss_rate=0.2))
    for sample in range(300):
        answer = Memory.model_validate_json(model.answer(body_of(english, Memory), sample).text)
        total += len(answer.notes)
        missed += sum(note.evidence not in english["user_text"] for note in answer.notes)
    assert total > 300
    assert 0.12 < missed / total < 0.28


def test_facts_are_statements_with_evidence(chinese, english):
    """In the material's language; plain sentences where it has no text to quote."""

    class Facts(BaseModel):
        """A list of texts."""

        facts: Annotated[list[str], Field(max_length=4)]

    for seed in range(20):
        facts = answer_of(Facts, english, seed=seed).facts
        assert 1 <= len(facts) <= 4
        assert all(fact.startswith("they said that ") for fact in facts)
    assert any(fact.removeprefix("they said that ") in english["user_text"] for fact in facts)
    assert not answer_of(Facts, chinese).facts[0].isascii()
    assert all(answer_of(Facts, {"persona": "A cook."}).facts)


def test_words_follow_the_language(chinese, english):
    """Sentences are in the material's language."""
    assert not answer_of(Memory, chinese).summary.isascii()
    assert answer_of(Memory, english).summary.replace("“", "").replace("”", "").isascii()


def test_enums_stay_near_what_the_material_has():
    """A stage that the material has stays or changes by one step."""

    class Stage(BaseModel):
        """A step of something."""

        stage: Literal["a", "b", "c", "d", "e"]

    seen = [answer_of(Stage, {"relationship": {"stage": "b"}}, seed=n).stage for n in range(60)]
    assert set(seen) == {"a", "b", "c"}
    assert seen.count("b") > 30


def test_nullable_fields_are_sometimes_null(english, body_of):
    """The share of nulls is the set one, and a reply is never left out."""
    model = SimulatedModel(settings=SimulatedSettings(null_rate=0.5))
    answers = [
        Nullable.model_validate_json(model.answer(body_of(english, Nullable), sample).text)
        for sample in range(200)
    ]
    assert 60 < sum(answer.a is None for answer in answers) < 140
    for sample in range(50):
        text = model.answer(body_of(english, Spoken), sample).text
        assert Spoken.model_validate_json(text).processor_plan


@pytest.mark.parametrize("keyword", REFUSED_KEYWORDS)
def test_a_keyword_that_is_not_written_for_is_refused_by_name(keyword):
    """At the top and inside, so that no answer breaks a form that was accepted."""
    inner = {"type": "string", keyword: {"type": "string"}}
    for schema in (inner, {"type": "object", "properties": {"mood": inner}}):
        with pytest.raises(SchemaRefused, match=re.escape(repr(keyword))):
            compile_schema(schema)
