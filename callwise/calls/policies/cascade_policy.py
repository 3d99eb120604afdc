"""Knobs of a cascade: a small model answers, and a larger one where it is not sure."""

from bisect import bisect_right
from typing import Literal, Self

from pydantic import Field, model_validator

from callwise.calls.policies.agreement_knobs import (
    AgreementKnobs,
    ModelNames,
    PolicyKnobGroup,
    Share,
    require_each_once,
)

__all__ = ["CascadePolicy", "ConfidenceCalibration", "ConfidenceSource"]

ConfidenceSource = Literal["logprobs", "agreement", "judge"]

MAX_POINTS = 50


class ConfidenceCalibration(PolicyKnobGroup):
    """A monotone map from one model's raw confidence to a chance, fitted on a recording.

    The chance is that its answer is as good as that of the model after it. Between two points it
    is interpolated, outside of them it is that of the nearest.
    """

    model: str = Field(min_length=1, max_length=80)
    """The model whose confidence it is."""
    by: ConfidenceSource
    """Source of the raw confidence: that of the cascade."""
    raw: tuple[Share, ...] = Field(min_length=1, max_length=MAX_POINTS)
    """Raw confidences, each above the one before."""
    chance: tuple[Share, ...] = Field(min_length=1, max_length=MAX_POINTS)
    """The chance at each of them, none below the one before."""
    labels: int = Field(ge=1)
    """Questions that it was fitted on."""

    @model_validator(mode="after")
    def _is_monotone(self) -> Self:
        if len(self.raw) != len(self.chance):
            raise ValueError(
                f"raw has {len(self.raw)} points and chance {len(self.chance)}; give both as many"
            )
        rises = zip(self.raw, self.raw[1:], strict=False)
        grows = zip(self.chance, self.chance[1:], strict=False)
        if any(low >= high for low, high in rises) or any(low > high for low, high in grows):
            raise ValueError("raw must rise from point to point, and chance must not fall")
        return self

    def chance_of(self, raw: float) -> float:
        """Return the chance at a raw confidence."""
        place = bisect_right(self.raw, raw)
        if place == 0:
            return self.chance[0]
        if place == len(self.raw):
            return self.chance[-1]
        left, right = self.raw[place - 1], self.raw[place]
        low, high = self.chance[place - 1], self.chance[place]
        return low + (high - low) * (raw - left) / (right - left)


class CascadePolicy(PolicyKnobGroup):
    """Models asked one after another, until one is sure enough of its answer."""

    kind: Literal["cascade"] = "cascade"
    """One model after another, until one is sure enough."""
    models: ModelNames = Field(min_length=2, max_length=10)
    """Names in `models`, or roles; the cheapest first, each once."""
    confidence: Share = 0.8
    """Least confidence of an answer that is taken. At a lower one the next model is asked."""
    by: ConfidenceSource = "logprobs"
    """Source of the confidence. logprobs: probabilities of the answer's tokens. agreement: share
    of `samples` answers that agree. judge: a call of `judge`."""
    samples: int = Field(default=3, ge=2, le=20)
    """Answers of a model that are compared with `by: agreement`. Each is a call."""
    judge: str = Field(default="judge", min_length=1, max_length=80)
    """Role, or name in `models`, of the model that judges with `by: judge`."""
    agreement: AgreementKnobs = AgreementKnobs()
    """Rule by which two answers agree."""
    calibration: tuple[ConfidenceCalibration, ...] = Field(default=(), max_length=10)
    """A map for each model, as `callwise.tuning.confidence.fit_confidence` fits it. A model without
    one has its raw confidence, which is no chance."""

    @property
    def answering(self) -> tuple[str, ...]:
        """Models whose answers may be taken."""
        return self.models

    @property
    def asked(self) -> tuple[str, ...]:
        """Models that may be asked, each once."""
        return tuple(dict.fromkeys((*self.models, *((self.judge,) if self.by == "judge" else ()))))

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        require_each_once(self.models, "`models` of the cascade")
        mapped = [each.model for each in self.calibration]
        require_each_once(mapped, "`calibration` of the cascade")
        for each in self.calibration:
            if each.model not in self.models[:-1] or each.by != self.by:
                raise ValueError(
                    f"a calibration is of {each.model:.80} by {each.by}, and the cascade asks "
                    f"{', '.join(self.models[:-1])} by {self.by} before its last model"
                )
        return self
