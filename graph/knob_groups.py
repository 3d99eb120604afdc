"""Groups of the pipeline's knobs that concern its nodes and what they ask."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from callwise.calls.call import Purpose
from callwise.calls.endpoint_settings import checked_extra_body
from callwise.calls.packing import MIN_LOWER_SD
from callwise.calls.role_endpoints import model_name_problem
from callwise.knobs.knob_paths import nearest_names
from nodes.cleaning import CLEANINGS

__all__ = [
    "TURN_PURPOSES",
    "FuseKnobs",
    "KnobGroup",
    "MemoryKnobs",
    "ModelName",
    "PackKnobs",
    "PreprocessKnobs",
    "ProcessorKnobs",
    "RepairKnobs",
    "SamplingKnobs",
    "TurnPurpose",
    "sampling_of",
]


class KnobGroup(BaseModel):
    """Base of the groups: a misspelt knob is an error, in every group."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessorKnobs(KnobGroup):
    """Cutting of the reply into chat bubbles."""

    llm: Literal["auto", "always", "never"] = "auto"
    """`auto` asks a model only when the search left no bubbles; `never` cuts by rule."""


class MemoryKnobs(KnobGroup):
    """The part of the past that a turn sees."""

    history_turns: int = Field(default=8, ge=0, le=100)
    """Most of the latest turns shown word for word. When there are more, the older half is
    dropped in one step, so that for several turns a prompt begins as the one before did and a
    provider's prefix cache serves it: 8 shows 5 to 8."""
    retrieve_k: int = Field(default=5, ge=0, le=50)
    """Older memories shown, at most."""
    dense: bool = False
    """Also retrieve by embeddings: one embed call per turn for the query, and one for
    what is written. Needs an endpoint for the role `embed`."""
    retrieval_entries: int = Field(default=0, ge=0)
    """Results of retrieval that are kept for a user until that user's next turn is written, and at
    most for `cache.ttl_seconds.vector_search`; 0 keeps none."""


class FuseKnobs(KnobGroup):
    """The nodes that ask one structured call together.

    A fused call that fails, is refused or cannot be read is followed by the separate
    calls, within the same budget; a part of it that cannot be used, by that part's own.
    """

    thinking: bool = False
    """Detection, inner monologue and reasoner ask one call: 2 calls and 2 rounds less per
    turn. It sees mode and mood as they were before the turn."""
    bookkeeping: bool = False
    """Evolver and memory manager ask one call: 1 call less per turn."""
    reply: bool = False
    """In place of the call of `thinking`, which this needs, one call writes a thought and the
    reply, and the search asks nothing. Detection is by rule, and there is no plan. Memories
    are retrieved before it."""
    wind_down: bool = False
    """Fuse more than the above in a turn that is short of calls: first thinking and
    bookkeeping, then the reply. The turn's record lists it in `wound_down`."""

    @model_validator(mode="after")
    def _replies_with_thoughts(self) -> "FuseKnobs":
        if self.reply and not self.thinking:
            raise ValueError(
                "fuse.reply=true needs fuse.thinking=true: a call that replies takes the place of "
                "those that think; set both, or leave fuse.reply false"
            )
        return self


class SamplingKnobs(KnobGroup):
    """Sampling of the answers of one purpose.

    A knob that is not set leaves the node's own value; one that is set to none sends
    nothing, so that the endpoint's default applies. Only those that are set are written out,
    so that the two are never confused.
    """

    temperature: float | None = Field(default=None, ge=0, le=5)
    """0 is greedy. None for models with a fixed temperature."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus mass."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Against what was mentioned at all."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Against what was mentioned often."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most output tokens, thoughts included. None reserves 1024 in a limited scope."""
    reasoning_effort: str | None = Field(default=None, min_length=1)
    """For models that think before they answer, such as `low`; here `none` is such a word."""
    seed: int | None = Field(default=None, ge=0)
    """The endpoint's own sampling seed. A resample adds its number, so that it differs."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request's body, which only this endpoint has."""
    timeout_seconds: float | None = Field(default=None, gt=0, le=86_400)
    """Longest time for one attempt. Not part of a call's identity, as all others are."""

    @field_validator("*", mode="before")
    @classmethod
    def _reads_none(cls, value: object, info: ValidationInfo) -> object:
        return None if value == "none" and info.field_name != "reasoning_effort" else value

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_call(cls, body: dict[str, Any] | None) -> dict[str, Any] | None:
        return body if body is None else checked_extra_body(body)

    @model_serializer(mode="wrap")
    def _write_what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name in self.model_fields_set}


_NOT_IN_A_TURN = frozenset(
    {Purpose.RETRIEVE, Purpose.SUMMARIZE, Purpose.RERANK, Purpose.REFEREE, Purpose.OTHER}
)

TURN_PURPOSES = (
    "default",
    *(str(each) for each in Purpose if each not in _NOT_IN_A_TURN),
)
"""Keys of `sampling`, `pack` and `policies`: the purposes of a turn's calls, and `default`."""


def _turn_purpose(name: str) -> str:
    if name not in TURN_PURPOSES:
        nearest = " or ".join(nearest_names(name, TURN_PURPOSES))
        hint = f"did you mean {nearest}?" if nearest else f"known: {', '.join(TURN_PURPOSES)}"
        raise ValueError(f"no such purpose; {hint}")
    return name


def _model_name(name: str) -> str:
    problem = model_name_problem(name)
    if problem:
        raise ValueError(problem)
    return name


ModelName = Annotated[str, AfterValidator(_model_name), Field(title="name")]
TurnPurpose = Annotated[str, AfterValidator(_turn_purpose), Field(title="purpose")]


def sampling_of(purpose: Purpose, sampling: Mapping[str, SamplingKnobs]) -> dict[str, Any]:
    """Return the sampling knobs that are set for a purpose, before those of `default`."""
    groups = (sampling[name] for name in ("default", str(purpose)) if name in sampling)
    return {name: getattr(each, name) for each in groups for name in each.model_fields_set}


class PreprocessKnobs(KnobGroup):
    """Cleaning of what prompts show. State, memory and records keep what was written.

    Each changes prompts, and so the keys of calls: a recording without it has other calls.
    """

    normalise: bool = False
    """Texts in Unicode NFC, with one blank in place of several and one empty line at most."""
    dedupe: bool = False
    """Leave out texts of memories that the chat or an earlier memory shows already."""

    @property
    def cleanings(self) -> tuple[str, ...]:
        """The names of those that are on, in the order in which they are made."""
        return tuple(name for name in CLEANINGS if getattr(self, name))


class PackKnobs(KnobGroup):
    """Several calls of one purpose that a node asks together, in one prompt.

    One call takes their place; an answer that is missing or does not fit is asked for alone. On
    only where it is shown to lose little: `callwise tune` measures the paired difference.
    """

    size: int = Field(default=4, ge=2, le=16)
    """Most questions in one prompt."""
    lower_sd: float | None = Field(default=None, ge=-10, le=10, allow_inf_nan=False)
    """Lower bound of the difference in quality that `tune` found on a recording, in standard
    deviations of a turn's quality. Below -0.05, or None, nothing is packed."""
    is_trial: bool = False
    """Pack without that proof, as to measure it."""

    @property
    def is_on(self) -> bool:
        """Whether questions are packed."""
        return self.is_trial or (self.lower_sd is not None and self.lower_sd >= MIN_LOWER_SD)


class RepairKnobs(KnobGroup):
    """Repair of answers that do not have the form asked for."""

    max_repairs: int = Field(default=1, ge=0, le=5)
    """Times it is asked again. Each is a counted call."""
