"""Nodes of a program's own in the reply graph: their place, their calls, their texts."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.calls import ConfigError, Purpose, Role, Sampling
from callwise.recordings.app_protocol import TurnInput
from graph.app import ReplyPipeline
from graph.drivers import NODES, predecessors
from graph.knob_groups import FuseKnobs
from graph.own_nodes import OwnNode, checked_nodes
from nodes.question import AnswerForm, Question, Texts, Tokens


class Taboos(AnswerForm):
    """An answer."""

    topics: Texts


CHECKING: Question[Any, Any] = Question(
    node="taboos",
    role=Role.FAST,
    purpose=Purpose.OTHER,
    prompt="taboos",
    answer=Taboos,
    fields=("chat",),
    sampling=Sampling(max_tokens=100),
    tokens=Tokens(400, 30),
    convert=lambda answer, _view: tuple(answer.topics),
    fallback=lambda _view: ("work",),
)


async def _step(state: Any, context: Any) -> dict[str, Any]:
    topics, _ = await CHECKING.ask(context.engine.llm, state)
    return {"plan": state.plan.model_copy(update={"avoid": tuple(topics)})}


NODE = OwnNode(
    "taboos",
    after="reasoner",
    step=_step,
    question=CHECKING,
    prompts={"en": "{{_head}} Taboos.", "zh": "{{_head}} 禁忌。"},
)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("fuse", [FuseKnobs(), FuseKnobs(thinking=True, reply=True)])
def test_what_waited_for_a_node_waits_for_the_one_after_it(overlap: bool, fuse: FuseKnobs) -> None:
    """In every order of the shipped nodes, of which none is lost."""
    usual = predecessors(overlap=overlap, fuse=fuse)
    waits = predecessors(overlap=overlap, fuse=fuse, nodes=(NODE,))
    assert waits.pop("taboos") == ("reasoner",)
    assert waits == {
        name: tuple("taboos" if each == "reasoner" else each for each in befores)
        for name, befores in usual.items()
    }


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (replace(NODE, name="detection"), "which is taken or no name"),
        (replace(NODE, name="My node"), "which is taken or no name"),
        (replace(NODE, after="reasonner"), "it can follow loader"),
        (replace(NODE, after=NODES[-1]), "it can follow loader"),
        (replace(NODE, prompts={"en": "x"}), "`prompts` as"),
    ],
)
def test_a_node_without_a_place_or_a_prompt_is_refused(node: OwnNode, problem: str) -> None:
    """When the app is made."""
    with pytest.raises(ConfigError, match=problem):
        ReplyPipeline(nodes=[node])


def test_nodes_may_follow_each_other() -> None:
    """In the order in which they are given."""
    second = OwnNode("second", after="taboos", step=_step)
    waits = predecessors(overlap=False, nodes=checked_nodes([NODE, second]))
    assert waits["second"] == ("taboos",)
    assert waits["memory_retriever"] == ("second",)


async def test_its_call_is_counted_recorded_and_planned(tmp_path: Path) -> None:
    """Under its own name; the digests of its prompts are among the app's."""
    app = ReplyPipeline(nodes=[NODE])
    settings = app.settings("instant")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(app.open(settings, folder=tmp_path))
        result = await session.run_turn(
            TurnInput(conversation_id="a", turn=0, user_text="Hello.", user_id="sam")
        )
    assert [row["node"] for row in result.rows].count("taboos") == 1
    usual = ReplyPipeline()
    planned, before = (each.plan(settings).measured()[0].counts.asked for each in (app, usual))
    assert planned == before + 1
    assert set(app.prompt_digests()) - set(usual.prompt_digests()) == {"taboos.en", "taboos.zh"}
