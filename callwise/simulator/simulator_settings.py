"""The settings of the simulated model: seed, faults, speed, quality."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from callwise.simulator.service_limits import SimulatedLimits

__all__ = ["SimulatedSettings"]

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability."""

Seconds = Annotated[float, Field(ge=0.0, le=1e6)]


class SimulatedSettings(BaseModel):
    """The settings of a simulated model. Equal settings give equal answers.

    Nothing here is measured on a real model. The judge's figures, which `judge_accuracy`
    overrides, are in `judge.JUDGE_CALIBRATION`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Decides every answer, every hidden quality and every fault."""

    latency_scale: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    """Factor on every drawn latency; 0 makes answers instant."""

    real_time_scale: Annotated[float, Field(ge=0.0)] = 0.0
    """Real seconds that the HTTP server waits for each virtual second. In process no time
    passes."""

    latency_base_seconds: Seconds = 0.4
    """Latency of an answer without a token. Assumed, as are the next three."""

    latency_seconds_per_input_token: Seconds = 0.00002
    """Prefill: 50,000 tokens per second."""

    latency_seconds_per_output_token: Seconds = 0.012
    """Decoding: 83 tokens per second."""

    latency_sigma: Annotated[float, Field(ge=0.0, le=2.0)] = 0.25
    """SD of the logarithm of the latency; its median stays."""

    error_rate_429: Rate = 0.0
    """Share of attempts answered 429 with Retry-After."""

    error_rate_500: Rate = 0.0
    """Share of attempts answered 500."""

    timeout_rate: Rate = 0.0
    """Share of attempts that never answer."""

    cut_stream_rate: Rate = 0.0
    """Share of streamed attempts that break off half-way. Others are not affected."""

    malformed_json_rate: Rate = 0.0
    """Share of structured answers whose text is broken JSON, or none."""

    retry_after_seconds: Seconds = 1.0
    """Seconds that a 429 asks to wait."""

    timeout_seconds: Seconds = 60.0
    """Seconds until an attempt without an answer ends, unless the client leaves first."""

    limits: SimulatedLimits | None = None
    """Requests and tokens per minute, and requests in flight, beyond which the HTTP server
    answers 429. In process they need a client with a clock."""

    judge_accuracy: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Within-prompt correlation of one score with the truth; None is the calibrated one.
    The draw of a score limits it to `rounding_attenuation` (0.87)."""

    refinement_gain: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.5
    """Mean gain of a child on its parent, in within-prompt SD. A reply near the best that the
    phrases allow gains less. Assumed."""

    refinement_sd: Annotated[float, Field(ge=0.0, le=2.0)] = 0.6
    """SD of a child's gain on its parent, in within-prompt SD. Assumed."""

    candidate_similarity: Rate = 0.3
    """Correlation of the qualities of two candidates of one call. Assumed."""

    strategy_repeat_rate: Rate = 0.0
    """Share of candidates that repeat the strategy of the one before."""

    evidence_miss_rate: Rate = 0.05
    """Share of quotes that are not verbatim in the source."""

    null_rate: Rate = 0.1
    """Share of nullable or optional fields that are left empty, scores apart."""

    missing_score_rate: Rate = 0.02
    """Share of nullable or optional score fields that are left empty."""

    boolean_true_rate: Rate = 0.3
    """Share of booleans without a known name that are true."""

    @property
    def has_faults(self) -> bool:
        """Whether any rate of a fault is above 0."""
        rates = (self.error_rate_429, self.error_rate_500, self.timeout_rate)
        return any((*rates, self.cut_stream_rate, self.malformed_json_rate))

    @model_validator(mode="after")
    def _rates_fit_together(self) -> Self:
        total = self.error_rate_429 + self.error_rate_500 + self.timeout_rate
        if total > 1.0:
            raise ValueError(
                f"error_rate_429 + error_rate_500 + timeout_rate is {total:g}, but an attempt ends "
                "in at most one of them. Lower the rates to a sum of at most 1"
            )
        return self
