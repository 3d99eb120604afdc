"""Processor: at most one call, or rules."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls import Purpose, Role
from callwise.testing.fakes import ScriptedLLM
from nodes.bubbles import MAX_BUBBLES, MAX_DELAY_SECONDS
from nodes.processor import MIN_OVERLAP, humanize, overlap
from nodes.records import Bubble, Mode, Mood, Persona, StyleVector
from nodes.turn import TurnView

DRAFT = "I was thinking about you today. Did the interview on the 12th go well?"
PLANNED = (
    Bubble(text="I was thinking about you today.", delay_seconds=1.5),
    Bubble(text="Did the interview on the 12th go well?", delay_seconds=1e9),
)
LOOSER = ["was thinking about you today", "did the interview on the 12th go ok?"]


async def run(llm, *, asks="auto", planned=(), **changes):
    """Process the draft, with the given fields of the turn changed."""
    fields = {
        "language": "en",
        "draft": DRAFT,
        "user_text": "hey",
        "persona": Persona(),
        "style": StyleVector(),
        "mood": Mood(),
        "mode": Mode.NORMAL,
    }
    view = TurnView(**(fields | changes), planned_bubbles=list(planned))
    return await humanize(llm, view, asks=asks)


def texts(processed):
    """Return the bubbles' texts."""
    return [bubble.text for bubble in processed.bubbles]


@pytest.mark.parametrize(
    ("asks", "planned", "calls"),
    [
        ("auto", PLANNED, 0),
        ("auto", (), 1),
        ("always", PLANNED, 1),
        ("always", (), 1),
        ("never", PLANNED, 0),
        ("never", (), 0),
    ],
)
async def test_the_knob_decides_whether_to_call(asks, planned, calls):
    """0 or 1 call, as the table at the head of the file says."""
    llm = ScriptedLLM({Purpose.HUMANIZE: {"bubbles": LOOSER}})
    processed, degradation = await run(llm, asks=asks, planned=planned)
    assert len(llm.calls) == calls
    assert degradation is None
    assert len(texts(processed)) == 2
    if calls:
        assert texts(processed) == LOOSER
        assert processed.text == "\n".join(LOOSER)
    else:
        assert processed.text == DRAFT


async def test_it_asks_one_main_call_with_the_draft():
    """The material has the draft as `reply` and the number of bubbles wanted."""
    llm = ScriptedLLM({Purpose.HUMANIZE: {"bubbles": LOOSER}})
    await run(llm)
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.MAIN, Purpose.HUMANIZE)
    fields = json.loads(call.messages[-1].content)
    assert (fields["reply"], fields["task"]["count"]) == (DRAFT, MAX_BUBBLES)


async def test_a_plans_delays_are_clamped():
    """A model may ask for a billion seconds; the user does not wait for them."""
    processed, _ = await run(ScriptedLLM(), planned=PLANNED)
    assert [bubble.delay_seconds for bubble in processed.bubbles] == [1.5, MAX_DELAY_SECONDS]


@pytest.mark.parametrize("asks", ["auto", "never"])
async def test_a_plan_that_is_not_the_draft_is_cut_again_without_a_call(asks):
    """A bad plan never buys a call that was not planned."""
    llm = ScriptedLLM()
    other = (Bubble(text="Something else.", delay_seconds=1.0),)
    processed, degradation = await run(llm, planned=other, asks=asks)
    assert not llm.calls
    assert degradation.reason == "invalid"
    assert "".join(texts(processed)).replace(" ", "") == DRAFT.replace(" ", "")


@pytest.mark.parametrize(
    "bubbles",
    [
        [],
        ["  "],
        ["As a language model I cannot say anything about that matter."],
        ["I was thinking about you today. Did the interview go well?"],
        ["I was thinking about you today. Did the interview on the 13th go well?"],
        DRAFT.split(" ")[:9],
        {"a": 1},
        [{"delay": 3}],
    ],
)
async def test_bubbles_that_say_something_else_are_not_used(bubbles):
    """Empty, unlike the draft, too many, or with a number lost or changed: rules cut it."""
    processed, degradation = await run(ScriptedLLM({Purpose.HUMANIZE: {"bubbles": bubbles}}))
    assert (degradation.node, degradation.reason) == ("processor", "invalid")
    assert processed.text == DRAFT
    assert "".join(texts(processed)).replace(" ", "") == DRAFT.replace(" ", "")


async def test_the_plan_is_used_when_the_call_is_refused():
    """With `always` and no budget left, the search's plan is better than rules."""
    processed, degradation = await run(ScriptedLLM(max_calls=0), planned=PLANNED, asks="always")
    assert degradation.reason == "refused"
    assert texts(processed) == [bubble.text for bubble in PLANNED]


async def test_bubbles_may_come_as_objects_and_repeat():
    """Objects with a text are read; a repeated bubble is content and stays."""
    answer = {"bubbles": [{"text": "哈哈", "delay_seconds": 1}, "哈哈", "你好可爱啊"]}
    llm = ScriptedLLM({Purpose.HUMANIZE: answer})
    processed, degradation = await run(llm, draft="哈哈，哈哈，你好可爱啊", language="zh")
    assert degradation is None
    assert texts(processed) == ["哈哈", "哈哈", "你好可爱啊"]


async def test_the_draft_stays_where_only_white_space_changed():
    """The reply that was judged is the reply that is kept."""
    llm = ScriptedLLM({Purpose.HUMANIZE: {"bubbles": [bubble.text for bubble in PLANNED]}})
    processed, _ = await run(llm)
    assert processed.text == DRAFT
    assert len(processed.bubbles) == 2


@pytest.mark.parametrize("asks", ["auto", "always", "never"])
async def test_a_blank_draft_has_no_bubbles_and_needs_no_call(asks):
    """The validator replaces an empty reply."""
    processed, degradation = await run(ScriptedLLM(), draft=" \n", asks=asks)
    assert (processed.bubbles, degradation) == ((), None)


async def test_a_draft_longer_than_a_prompt_is_cut_by_rules():
    """A model must not retell a reply that it sees only in part."""
    processed, degradation = await run(ScriptedLLM(), draft="long " * 20_000)
    assert degradation.reason == "invalid"
    assert len("".join(texts(processed)).split()) >= 19_990


@given(st.text(max_size=60), st.text(max_size=60))
def test_overlap_is_a_symmetric_share(text, other):
    """In [0, 1], 1 for equal texts, the same both ways."""
    assert 0.0 <= overlap(text, other) <= 1.0
    assert overlap(text, other) == overlap(other, text)
    assert overlap(text, text) == 1.0


def test_overlap_distinguishes_a_looser_wording_from_another_message():
    """The threshold lies between them."""
    assert overlap(DRAFT, "\n".join(LOOSER)) > 0.75 > MIN_OVERLAP
    assert overlap(DRAFT, "As a language model I cannot say anything about it.") < MIN_OVERLAP
    assert overlap("今天天气真好，我想去公园走走", "今天天气好好哦！想去公园走走～") > MIN_OVERLAP
    assert overlap("😊", "😊") == 1.0
    assert overlap("😊", "😢") == 0.0
