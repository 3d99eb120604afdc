"""Going on without a model."""

from dataclasses import replace

import pytest

from callwise.calls import CallRefused, Purpose, Reply
from callwise.calls.errors import (
    AuthFailed,
    CallTimeout,
    CassetteMiss,
    ContentRefused,
    EmptyAnswer,
    InvalidAnswer,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
)
from callwise.testing.fakes import ScriptedLLM
from nodes.inner_monologue import MONOLOGUE
from nodes.question import MAX_DETAIL_CHARS, degradation_of
from nodes.turn import TurnView

QUESTION = replace(
    MONOLOGUE,
    node="n",
    convert=lambda answer, _view: answer.thought,
    fallback=lambda _view: "rules",
)


async def ask(answer, **options):
    """Ask with a script, and with "rules" as the fallback."""
    return await QUESTION.ask(ScriptedLLM({Purpose.MONOLOGUE: answer}, **options), TurnView())


async def test_an_answer_is_converted():
    """A usable answer needs no rules and no excuse."""
    assert await ask({"thought": "hm"}) == ("hm", None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CallRefused("turn", "max_calls", 5, 5, 1), "refused"),
        (InvalidAnswer("no JSON", "x" * 9999), "invalid"),
        (EmptyAnswer("empty"), "invalid"),
        (ContentRefused("filter"), "invalid"),
        (CallTimeout("slow"), "failed"),
        (RateLimited("busy"), "failed"),
        (ServerFailed("y" * 9999, status=500), "failed"),
    ],
)
async def test_the_rules_answer_and_the_reason_is_kept(error, reason):
    """Each error that is not fatal names its reason, in bounded length."""
    result, degradation = await ask(error)
    assert result == "rules"
    assert (degradation.node, degradation.reason) == ("n", reason)
    assert degradation.detail.startswith(type(error).__name__)
    assert len(degradation.detail) <= MAX_DETAIL_CHARS


@pytest.mark.parametrize(
    "error", [AuthFailed("401"), QuotaExhausted("402"), CassetteMiss("not recorded")]
)
async def test_a_fatal_error_is_raised(error):
    """Rules must not hide a wrong key or a missing recording."""
    with pytest.raises(type(error)):
        await ask(error)
    with pytest.raises(type(error)):
        degradation_of(error, node="n")


async def test_a_budget_that_has_run_out_is_survived():
    """A refusal reaches the node as a degradation."""
    _, degradation = await ask({"thought": "hm"}, max_calls=0)
    assert degradation.reason == "refused"
    assert "max_calls=0" in degradation.detail


async def test_an_llm_that_does_not_parse_is_a_programming_error():
    """A broken contract is not taken for a bad answer."""
    with pytest.raises(TypeError, match="NoneType for MonologueAnswer"):
        await ask(Reply('{"thought": "hm"}'))


async def test_a_converter_may_reject_an_answer():
    """An answer that fits its schema and cannot be used counts as invalid."""

    def reject(parsed, _view):
        raise InvalidAnswer("of no use", parsed.thought)

    question = replace(QUESTION, convert=reject, fallback=lambda _view: 7)
    llm = ScriptedLLM({Purpose.MONOLOGUE: {"thought": "hm"}})
    result, degradation = await question.ask(llm, TurnView())
    assert (result, degradation.reason) == (7, "invalid")
