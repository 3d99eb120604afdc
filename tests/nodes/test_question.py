"""Question of a node: one call of its prompt, role, purpose and form; rules when it fails."""

import json
from dataclasses import replace

from callwise.calls import Priority, Purpose, Role, Sampling
from callwise.calls.errors import ServerFailed
from callwise.testing.fakes import ScriptedLLM
from nodes.inner_monologue import MonologueAnswer
from nodes.question import Question, Tokens
from nodes.turn import TurnView

QUESTION = Question(
    node="inner_monologue",
    role=Role.MAIN,
    purpose=Purpose.MONOLOGUE,
    prompt="inner_monologue",
    answer=MonologueAnswer,
    fields=("chat",),
    sampling=Sampling(temperature=0.3, max_tokens=7),
    tokens=Tokens(1, 1),
    convert=lambda answer, view: (answer.thought, view.user_text),
    fallback=lambda view: ("rules", view.user_text),
)


async def ask(llm):
    """Ask about one message."""
    return await QUESTION.ask(llm, TurnView(user_text="你好", language="zh"))


async def test_the_call_is_the_questions_and_the_material_the_turns():
    """The prompt is the node's in the language asked for; the answer is converted."""
    llm = ScriptedLLM({Purpose.MONOLOGUE: {"thought": "hm"}})
    assert await ask(llm) == (("hm", "你好"), None)
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.MAIN, Purpose.MONOLOGUE)
    assert call.response_model is MonologueAnswer
    assert call.sampling == QUESTION.sampling
    system, user = call.messages
    assert "还没打字时的念头" in system.content
    assert json.loads(user.content) == {"chat": [{"user": "你好"}]}


def test_its_urgency_company_and_lifetime_are_the_calls():
    """As they are declared; without them the purpose's."""
    view = TurnView(user_text="hi", language="en")
    own = {
        "priority": Priority.LOW,
        "deadline_seconds": 9.0,
        "batch_key": "x",
        "cache_ttl_seconds": 3.0,
    }
    plain, declared = QUESTION.call(view), replace(QUESTION, **own).call(view)
    assert declared == replace(plain, **own)
    assert plain.priority is None


async def test_the_degradation_names_the_node():
    """Without an answer the rules speak, and the turn's record says for which node."""
    result, degradation = await ask(ScriptedLLM({Purpose.MONOLOGUE: ServerFailed("down")}))
    assert (result, degradation.node) == (("rules", "你好"), "inner_monologue")
