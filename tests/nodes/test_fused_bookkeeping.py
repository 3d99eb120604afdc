"""Fused bookkeeping: evolver and memory manager in one call."""

import json
import re

import pytest

from callwise.calls import Purpose, Role
from callwise.calls.errors import ServerFailed
from callwise.testing.fakes import ScriptedLLM
from nodes.evolver import EvolverAnswer
from nodes.fused_calls import FUSED_BOOKKEEPING, BookkeepingAnswer, ask_fused
from nodes.memory_manager import MemoryAnswer, NoteAnswer
from nodes.prompt import prompt
from nodes.records import Detection, Persona, Relationship
from nodes.turn import TurnView

MOVEMENT = {"reason": "She confided.", "trust_delta": 0.3}
NOTES = [
    {"text": "Her name is Lu Lin.", "kind": "fact", "evidence": "I am Lu Lin"},
    {"text": "She lives in Paris.", "kind": "fact", "evidence": "I live in Paris"},
]
MEMORY = {"summary": "They met.", "notes": NOTES}


async def run(answer):
    """Do the bookkeeping of one turn."""
    llm = ScriptedLLM({Purpose.FUSE: answer})
    view = TurnView(
        language="en",
        user_text="I am Lu Lin.",
        reply="Nice to meet you.",
        persona=Persona(),
        relationship=Relationship(),
        detection=Detection(context="An introduction."),
        summary="Nothing yet.",
    )
    found, degradations = await ask_fused(llm, FUSED_BOOKKEEPING, view)
    return found, degradations, llm


async def test_one_fast_call_does_all_the_bookkeeping():
    """The delta and the notes with proof come of one answer; a note without is counted."""
    found, degradations, llm = await run({"movement": MOVEMENT, "memory": MEMORY})
    assert found["evolver"].trust == 0.3
    memory = found["memory_manager"]
    assert [note.text for note in memory.notes] == ["Her name is Lu Lin."]
    assert (memory.dropped_notes, memory.dropped_reasons) == (1, ("not_verbatim",))
    assert not degradations
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.FAST, Purpose.FUSE)
    fields = json.loads(call.messages[-1].content)
    assert fields["detection"]["context"] == "An introduction."
    assert {"stage", "relationship", "summary"} <= fields.keys()
    assert [*fields["chat"][-1]] == ["agent"]


@pytest.mark.parametrize(
    ("answer", "node"),
    [({"movement": MOVEMENT}, "memory_manager"), ({"memory": MEMORY}, "evolver")],
)
async def test_a_part_without_use_is_left_to_its_node(answer, node):
    """The other one is used."""
    found, degradations, _ = await run(answer)
    assert {*found, node} == {"evolver", "memory_manager"}
    assert [row.node for row in degradations] == [node]


async def test_without_an_answer_both_are_left():
    """And one degradation names the node that asked."""
    found, degradations, _ = await run(ServerFailed("down"))
    assert found == {}
    assert [(row.node, row.reason) for row in degradations] == [("evolver", "failed")]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_prompt_names_every_part_and_field(language):
    """A field that the prompt does not explain is a field that the model guesses."""
    text = prompt("fused_bookkeeping", language)
    for model in (BookkeepingAnswer, EvolverAnswer, MemoryAnswer, NoteAnswer):
        for field in model.model_fields:
            assert re.search(rf"(?<!\w){field}(?!\w)", text)
