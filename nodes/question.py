"""A node's question to a model, declared once, and the types of its answer's fields.

The reader of answers brings values to the types and ranges of the schema (see
`callwise.calls.structured`); the types below add what is particular to nodes:

- null is neutral (0) where a score is required.
- A text is stripped, and clipped to its maximum. It may be blank, since no strict schema
  can forbid that; only a reply, a goal and a bubble may not.
- Of a list of texts, blank entries and repetitions are dropped.
- Fields that were not asked for are ignored.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from callwise.calls import LLM, Call, CallError, CallRefused, Priority, Purpose, Role, Sampling
from callwise.calls.errors import ContentRefused, EmptyAnswer, InvalidAnswer
from callwise.calls.step_times import timed
from nodes.cleaning import cleaned
from nodes.prompt import clip
from nodes.records import Degradation
from nodes.turn import PROMPT_FIELDS, TurnView, chat

__all__ = [
    "BOOKKEEPING_LEASE",
    "CANDIDATE_TOKENS",
    "CLEAN",
    "FORMAT",
    "MAX_DETAIL_CHARS",
    "MAX_TEXTS",
    "MAX_TEXT_CHARS",
    "SELECT",
    "WRITE",
    "AnswerForm",
    "FilledText",
    "FilledTexts",
    "Question",
    "QuestionStep",
    "SignedScore",
    "Text",
    "Texts",
    "Tokens",
    "UnitScore",
    "degradation_of",
    "each_once",
]

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")

MAX_TEXT_CHARS = 1200
"""Longest text taken from an answer, in characters; longer ones keep head and tail."""

MAX_TEXTS = 8
"""Most entries taken from a list of texts; the first ones are kept."""


class AnswerForm(BaseModel):
    """Base of the answers: frozen, open to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _neutral(value: Any) -> Any:
    return 0.0 if value is None else value


def _as_text(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_TEXT_CHARS else clip(text, MAX_TEXT_CHARS)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def each_once(items: Iterable[ItemT]) -> list[ItemT]:
    """Return a list without repetitions, in its order."""
    return list(dict.fromkeys(items))


def _filled_once(texts: list[str]) -> list[str]:
    return each_once(filter(None, texts))


# The schema names the ranges: the reader clamps to them.
UnitScore = Annotated[float, Field(ge=0.0, le=1.0), BeforeValidator(_neutral)]
"""A score in [0, 1]."""

SignedScore = Annotated[float, Field(ge=-1.0, le=1.0), BeforeValidator(_neutral)]
"""A signed score in [-1, 1]."""

Text = Annotated[str, AfterValidator(_as_text)]
"""A text that may be blank."""

Texts = Annotated[list[Text], Field(max_length=MAX_TEXTS), AfterValidator(_filled_once)]
"""Short texts in the order of the answer."""


def _asks_for_one(schema: dict[str, Any]) -> None:
    schema["minItems"] = 1
    schema["items"]["minLength"] = 1


FilledTexts = Annotated[Texts, Field(json_schema_extra=_asks_for_one)]
"""Short texts, of which one is asked for. An answer with none is read all the same: small
models write blank ones, and asking again costs more than the rules that fill in."""

FilledText = Annotated[str, Field(min_length=1), AfterValidator(_filled)]
"""A text that may not be blank, whole: a clipped one would lose words of the reply."""

BOOKKEEPING_LEASE = "bookkeeping"
"""The lease of a turn that the questions after the reply draw on."""

CANDIDATE_TOKENS = 150
"""Expected answer tokens of each candidate that a call of the search writes."""

MAX_DETAIL_CHARS = 300
"""Longest explanation that a degradation carries, in characters."""


class Tokens(NamedTuple):
    """Estimated tokens of one call. Of a repair the prompt grows."""

    input: int
    output: int


def degradation_of(error: CallError, *, node: str) -> Degradation:
    """Return the record of a node that goes on without its call.

    Raises:
        CallError: the error itself, when it is fatal.
    """
    if error.is_fatal:
        raise error
    detail = clip(f"{type(error).__name__}: {error}", MAX_DETAIL_CHARS)
    is_unusable = isinstance(error, InvalidAnswer | EmptyAnswer | ContentRefused)
    reason = "refused" if isinstance(error, CallRefused) else "invalid" if is_unusable else "failed"
    return Degradation.model_validate({"node": node, "reason": reason, "detail": detail})


class QuestionStep(NamedTuple):
    """A step before or after a call: a pure function with a name.

    Args:
        name: under which its time is counted (`callwise.calls.step_times`).
        run: given the question, the turn, and what the step before it returned. The first step
            before the call is given the turn, the first after it the answer; the last one before
            the call returns its messages, the last after it the node's result.
    """

    name: str
    run: "Callable[[Question[Any, Any], TurnView, Any], Any]"


CLEAN = QuestionStep("clean", lambda _question, _view, view: cleaned(view))
"""Cleans what the prompt shows of the turn, by the knobs of `preprocess`."""

SELECT = QuestionStep("select", lambda question, _view, view: question.shown(view))
"""Takes the fields of the prompt from the turn. Lines of the chat are clipped, once for all calls
that show them."""

WRITE = QuestionStep(
    "write", lambda question, view, shown: chat(question.prompt, view.language, **shown)
)
"""Clips the other fields, leaves out empty ones, and writes the messages."""

FORMAT = QuestionStep("format", lambda question, view, answer: question.convert(answer, view))
"""Makes the node's result of an answer."""


@dataclass(frozen=True, slots=True)
class Question(Generic[AnswerT, ResultT]):
    """One structured call of a node, without the material of a turn.

    Args:
        prompt: name of its file in `nodes/prompts`, before the language.
        fields: names of `nodes.turn.PROMPT_FIELDS` that the prompt shows.
        tokens: expected of one call. Prompts: rounded means over the shipped conversations;
            answers: guesses at a real model's length. `report --table plan` shows both
            against the actual.
        convert: makes the node's result of an answer. It raises InvalidAnswer when the answer
            fits its form and still cannot be used.
        fallback: the rules, when there is no usable answer.
        asked: fields that are not shown as `PROMPT_FIELDS` shows them.
        lease: the lease of the turn that the call may draw on.
        priority: its class of urgency; this and the next three are those of `Call`.
        speaks_for: the nodes whose questions a fused one takes the place of.
        before: the steps that make the messages of a turn.
        after: the steps that make the node's result of an answer that was read. Reading it, the
            steps `parse` and `validate`, is the budgeter's: an answer that does not fit is asked
            for again.
    """

    node: str
    role: Role
    purpose: Purpose
    prompt: str
    answer: type[AnswerT]
    fields: tuple[str, ...]
    sampling: Sampling
    tokens: Tokens
    convert: Callable[[AnswerT, TurnView], ResultT]
    fallback: Callable[[TurnView], ResultT]
    asked: Callable[[TurnView], Mapping[str, Any]] = lambda _view: {}
    lease: str | None = None
    priority: Priority | None = None
    deadline_seconds: float | None = None
    batch_key: str | None = ""
    cache_ttl_seconds: float | None = None
    speaks_for: tuple[str, ...] = ()
    before: tuple[QuestionStep, ...] = (CLEAN, SELECT, WRITE)
    after: tuple[QuestionStep, ...] = (FORMAT,)

    def shown(self, view: TurnView) -> dict[str, Any]:
        """Return the fields of the prompt about a turn."""
        shown = {name: PROMPT_FIELDS[name](view) for name in self.fields}
        return {**shown, **self.asked(view)}

    def _stepped(self, steps: tuple[QuestionStep, ...], view: TurnView, value: Any) -> Any:
        """Return a value after all steps."""
        for step in steps:
            with timed(step.name):
                value = step.run(self, view, value)
        return value

    def call(self, view: TurnView) -> Call:
        """Return the call about a turn."""
        return Call(
            role=self.role,
            purpose=self.purpose,
            messages=self._stepped(self.before, view, view),
            response_model=self.answer,
            sampling=self.sampling,
            lease=self.lease,
            priority=self.priority,
            deadline_seconds=self.deadline_seconds,
            batch_key=self.batch_key,
            cache_ttl_seconds=self.cache_ttl_seconds,
        )

    async def ask(self, llm: LLM, view: TurnView) -> tuple[ResultT, Degradation | None]:
        """Return what the model answered about a turn, or what follows by rule and why.

        Raises:
            CallError: a fatal one.
            TypeError: when the LLM breaks its contract and leaves the answer unparsed.
        """
        try:
            parsed = (await llm.ask(self.call(view))).parsed
            if not isinstance(parsed, self.answer):
                got, wanted = type(parsed).__name__, self.answer.__name__
                raise TypeError(f"{self.node}: the LLM returned {got} for {wanted}")
            return self._stepped(self.after, view, parsed), None
        except CallError as error:
            degradation = degradation_of(error, node=self.node)
        return self.fallback(view), degradation
