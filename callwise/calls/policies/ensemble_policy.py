"""Knobs of an ensemble: several models are asked together, and their answers are combined."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from callwise.calls.policies.agreement_knobs import (
    AgreementKnobs,
    ModelNames,
    PolicyKnobGroup,
    Share,
    require_each_once,
)

__all__ = ["EnsemblePolicy"]


class EnsemblePolicy(PolicyKnobGroup):
    """Models asked together, whose answers are combined to one."""

    kind: Literal["ensemble"] = "ensemble"
    """Several models together, whose answers are combined."""
    models: ModelNames = Field(min_length=2, max_length=20)
    """Names in `models`, or roles, each once."""
    by: Literal["vote", "weighted", "confidence", "agreement"] = "vote"
    """Weight of a member. vote: all weigh the same. weighted: by `weights`. confidence: by the
    probabilities of its tokens. agreement: a vote that counts where enough agree."""
    weights: tuple[Annotated[float, Field(gt=0.0, le=1e6)], ...] = ()
    """A weight for each of `models`, with `by: weighted`."""
    numbers: Literal["mean", "median"] = "mean"
    """Combination of the numbers of answers that agree otherwise."""
    min_agreement: Share = 0.6
    """Least share of the members that must agree with `by: agreement`. One that failed agrees
    with none."""
    otherwise: str = Field(default="", max_length=80)
    """Role, or name in `models`, of the model that answers where too few agree."""
    agreement: AgreementKnobs = AgreementKnobs()
    """Rule by which two answers agree."""

    @property
    def answering(self) -> tuple[str, ...]:
        """Models whose answers may be taken."""
        return (*self.models, *filter(None, (self.otherwise,)))

    @property
    def asked(self) -> tuple[str, ...]:
        """Models that may be asked, each once."""
        return self.answering

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        require_each_once(self.models, "`models` of the ensemble")
        if (self.by == "weighted") != bool(self.weights):
            raise ValueError("`weights` and `by: weighted` are given together, or neither")
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(
                f"weights has {len(self.weights)} numbers for {len(self.models)} models; give one "
                "for each"
            )
        if (self.by == "agreement") != bool(self.otherwise):
            raise ValueError("`otherwise` and `by: agreement` are given together, or neither")
        if self.otherwise in self.models:
            raise ValueError(
                f"otherwise: {self.otherwise:.80} is one of `models`; name another model"
            )
        return self
