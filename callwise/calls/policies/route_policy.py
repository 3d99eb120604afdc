"""Knobs of routing: a table of models for one purpose, one of which answers each call."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from callwise.calls.policies.agreement_knobs import PolicyKnobGroup, Share, require_each_once

__all__ = ["ComplexityKnobs", "RouteEntry", "RoutePolicy"]

Amount = Annotated[float, Field(ge=0.0, le=1e6)]


class RouteEntry(PolicyKnobGroup):
    """One model of a routing table, with what was measured of it for the table's purpose."""

    model: str = Field(min_length=1, max_length=80)
    """Name in `models`, or a role."""
    max_complexity: Share = 1.0
    """The most complex request that it is asked."""
    quality: Share | None = None
    """Mean quality of its answers, as measured. None: not measured."""
    quality_low: Share | None = None
    """Lower end of the 95 % interval of `quality`."""
    quality_high: Share | None = None
    """Upper end of the 95 % interval of `quality`."""
    usd_per_call: Amount | None = None
    """Mean price of a call in USD, as measured. None: not measured, which is not free."""
    seconds: Amount | None = None
    """Mean time of a call, as measured. None: not measured."""
    seconds_low: Amount | None = None
    """Lower end of the 95 % interval of `seconds`."""
    seconds_high: Amount | None = None
    """Upper end of the 95 % interval of `seconds`."""

    @model_validator(mode="after")
    def _has_intervals_around_means(self) -> Self:
        for name in ("quality", "seconds"):
            mean = getattr(self, name)
            low, high = getattr(self, f"{name}_low"), getattr(self, f"{name}_high")
            if (low, high) == (None, None):
                continue
            if mean is None or low is None or high is None or not low <= mean <= high:
                raise ValueError(
                    f"{name}_low <= {name} <= {name}_high is expected, all three or `{name}` "
                    f"alone; got {low}, {mean}, {high}"
                )
        return self


class ComplexityKnobs(PolicyKnobGroup):
    """Weights of the parts of a request's complexity, whose weighted mean it is.

    Each part is from 0 to 1. One that is not known is left out of the mean.
    """

    length: Share = 0.4
    """Weight of the prompt's length."""
    task: Share = 0.3
    """Weight of the kind of task, by the purpose."""
    messages: Share = 0.1
    """Weight of the number of messages and tools."""
    form: Share = 0.1
    """Weight of the size of the answer's form: its schema, and those of the tools."""
    seconds: Share = 0.1
    """Weight of the time of earlier work: the longest `seconds` of the table."""
    full_tokens: int | None = Field(default=None, ge=1)
    """Prompt of length 1, in tokens. None takes the shortest context that is known of the table's
    models, else 8192."""
    full_messages: int = Field(default=20, ge=1)
    """Number of messages and tools that counts as 1."""
    full_form_bytes: int = Field(default=4000, ge=1)
    """Size of a form that counts as 1, in bytes of JSON."""
    full_seconds: float = Field(default=30.0, gt=0.0)
    """Time of earlier work that counts as 1."""

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not (self.length or self.task or self.messages or self.form):
            raise ValueError(
                "complexity needs a weight above 0 of length, task, messages or form; got none"
            )
        return self


class RoutePolicy(PolicyKnobGroup):
    """One model for each call: of those that can answer it and are good enough, the cheapest."""

    kind: Literal["route"] = "route"
    """Way to choose: `route` asks one model of a table."""
    table: tuple[RouteEntry, ...] = Field(min_length=1, max_length=100)
    """The models that may answer, each once. Of equally cheap ones the first is asked."""
    max_usd: Amount | None = None
    """Highest price of a call in USD, as estimated before it is sent. None for no such limit."""
    min_quality: Share | None = None
    """Lowest measured `quality`. A model without one is not good enough. None asks for none."""
    save_below: Share = 0.0
    """Share of the tightest limit of calls or USD: where less than that is left, the cheapest that
    can answer is asked, whatever `min_quality` and `max_complexity` are. 0 never saves."""
    complexity: ComplexityKnobs = ComplexityKnobs()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its models, in the order of the table."""
        return tuple(entry.model for entry in self.table)

    @property
    def answering(self) -> tuple[str, ...]:
        """Models whose answers may be taken."""
        return self.models

    @property
    def asked(self) -> tuple[str, ...]:
        """Models that may be asked, each once."""
        return self.models

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        require_each_once(self.models, "the table")
        return self
