"""What a node asks a model, written once: its prompt, who answers, what for, and in what form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from nodes.degrade import ask_or
from nodes.prompt import chat
from nodes.records import Degradation, Language
from turnwise.calls import Asker, Call, Purpose, Role, Sampling

__all__ = ["Question"]

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Question(Generic[AnswerT]):
    """One node's structured call, without the material of a turn.

    Args:
        node: name of the node, and of its prompt.
        role: which model answers.
        purpose: what for.
        answer: what the model answers with.
        sampling: temperature and longest answer.
    """

    node: str
    role: Role
    purpose: Purpose
    answer: type[AnswerT]
    sampling: Sampling

    async def ask(
        self,
        asker: Asker,
        language: Language,
        material: dict[str, Any],
        *,
        convert: Callable[[AnswerT], ResultT],
        fallback: Callable[[], ResultT],
    ) -> tuple[ResultT, Degradation | None]:
        """Return what the model answered about some material, or what the rules say and why.

        Args:
            asker: who reaches the model.
            language: language of the prompt; it stands in the material too.
            material: what the prompt is about, as JSON knows it. Untrusted.
            convert: as in `ask_or`.
            fallback: as in `ask_or`.

        Raises:
            CallError: a fatal one.
        """
        call = Call(
            role=self.role,
            purpose=self.purpose,
            messages=chat(self.node, language, **material),
            response_model=self.answer,
            sampling=self.sampling,
        )
        return await ask_or(
            asker, call, node=self.node, answer=self.answer, convert=convert, fallback=fallback
        )
