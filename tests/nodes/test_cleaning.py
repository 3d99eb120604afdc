"""Steps before and after a call: names, order, times; and cleanings of what a prompt shows."""

import itertools
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from callwise.calls import Call, CallError, Purpose, Remaining, Reply, Role, Sampling
from callwise.calls.step_times import StepTimes, timed, times_kept
from nodes.cleaning import cleaned, cleaning, normal_text
from nodes.detection import DETECTION
from nodes.question import CLEAN, FORMAT, SELECT, WRITE, AnswerForm, Question, QuestionStep, Tokens
from nodes.records import DialogueLine, MemoryLine, Persona
from nodes.turn import TurnView

VIEW = TurnView(
    user_text="  Cafe\u0301 \t tonight?\n\n\n\nOr\u00a0not. ",
    persona=Persona(name="Lin"),
    history=[DialogueLine(role="user", text="My  cat is ill.")],
    memories=[
        MemoryLine(turn=3, user="my cat is  ILL.", agent="Poor thing.", noted=("Has a cat.",)),
        MemoryLine(turn=4, user="Hello.", agent="Poor thing.", noted=("has a cat.",)),
        MemoryLine(turn=5, user="My cat is ill.", agent="poor thing."),
    ],
)


def material(view: TurnView) -> dict[str, Any]:
    """Return the material of a call about a turn."""
    shown: dict[str, Any] = orjson.loads(DETECTION.call(view).messages[1].content)
    return shown


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Cafe\u0301", "Caf\u00e9"),
        (" a\t\u3000b ", "a b"),
        ("a \n b\n\n \n\nc\n", "a \n b\n\nc"),
        ("", ""),
        ("\u4f60\u597d\u3002", "\u4f60\u597d\u3002"),
    ],
)
def test_a_text_is_normalised(text: str, normal: str) -> None:
    """NFC and white space of one form; twice is as once."""
    assert normal_text(text) == normal_text(normal) == normal


def test_a_prompt_is_cleaned_by_knobs_alone() -> None:
    """None is on by default: the turn itself is shown. The turn is never changed."""
    before = VIEW.model_dump()
    assert cleaned(VIEW) is VIEW
    plain = DETECTION.call(VIEW)
    with cleaning(("normalise",)):
        chat = material(VIEW)["chat"]
    assert chat == [{"user": "My cat is ill."}, {"user": "Caf\u00e9 tonight?\n\nOr not."}]
    assert DETECTION.call(VIEW) == plain
    assert VIEW.model_dump() == before


def test_what_the_chat_shows_is_left_out_of_memories() -> None:
    """Repetitions count without case and white space; a memory of nothing else is left out."""
    with cleaning(("dedupe",)):
        memories = cleaned(VIEW).memories
    assert memories == [
        MemoryLine(turn=3, agent="Poor thing.", noted=("Has a cat.",)),
        MemoryLine(turn=4, user="Hello."),
    ]


class Mark(AnswerForm):
    """An answer of one text."""

    text: str


class AnsweringLLM:
    """An LLM that answers one text."""

    async def ask(self, call: Call) -> Reply:
        """Return the answer."""
        assert call.response_model is Mark
        return Reply("", parsed=Mark(text="yes"))

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Return the answers."""
        del max_concurrency
        return [await self.ask(call) for call in calls]

    def advisory(self) -> Remaining:
        """Return that nothing is limited."""
        return Remaining()


async def test_the_steps_of_a_question_are_declared_and_timed() -> None:
    """Each runs once in its order, on what the one before returned; their times add up."""
    shout = QuestionStep(
        "shout", lambda _question, _view, shown: {"reply": shown.get("reply", "").upper()}
    )
    twice = QuestionStep("twice", lambda _question, _view, text: text * 2)
    question: Question[Mark, str] = Question(
        node="node",
        role=Role.FAST,
        purpose=Purpose.OTHER,
        prompt="detection",
        answer=Mark,
        fields=("reply",),
        sampling=Sampling(),
        tokens=Tokens(1, 1),
        convert=lambda answer, _view: answer.text,
        fallback=lambda _view: "",
        before=(CLEAN, SELECT, shout, WRITE),
        after=(FORMAT, twice),
    )
    ticks = itertools.count()
    times = StepTimes(lambda: float(next(ticks)))
    with times_kept(times), timed("around"):
        call = question.call(TurnView(draft="hi"))
    assert orjson.loads(call.messages[1].content) == {"reply": "HI"}
    assert list(times.statistics()) == ["clean", "select", "shout", "write", "around"]
    assert times.statistics()["shout"] == {"runs": 1, "seconds": 1.0}
    assert times.statistics()["around"]["seconds"] == 9.0
    assert await question.ask(AnsweringLLM(), TurnView()) == ("yesyes", None)
    assert times.statistics()["clean"]["runs"] == 1  # counted in the block only
