"""The settings of a search, each with its range. Unknown names are refused."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EarlyExitKnobs", "SearchKnobs"]

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EarlyExitKnobs(BaseModel):
    """When a judged reply is good enough to stop. Every gate must be passed.

    A field that the judge left out fails its gate.
    """

    model_config = _STRICT

    enabled: bool = True
    """Whether the search may stop early at all."""

    min_rollouts: int = Field(default=0, ge=0, le=64)
    """Rollouts that must be over first. 0 lets the root's own judgement end the search."""

    min_root_score: float = Field(default=0.82, ge=0, le=1)
    """Least overall score of the reply that would be answered, the root draft at first."""

    min_plan_alignment: float = Field(default=0.80, ge=0, le=1)
    """Least fit of the reply to the turn's plan."""

    max_assistantness: float = Field(default=0.18, ge=0, le=1)
    """Most that the reply may sound like an assistant. Also the bar of the assistant check."""

    min_mode_fit: float = Field(default=0.65, ge=0, le=1)
    """Least fit of the reply to the turn's mode."""


class SearchKnobs(BaseModel):
    """All settings of one search. The defaults cost 11 calls in 11 rounds."""

    model_config = _STRICT

    policy: Literal["classic_uct"] = "classic_uct"
    """Which search runs."""

    rollouts: int = Field(default=4, ge=0, le=64)
    """Rollouts after the root. Each asks one expansion and judges its best candidates."""

    expand_k: int = Field(default=2, ge=1, le=16)
    """Candidates that one expansion asks for, in one call. More are dropped, fewer are fine."""

    soft_top_n: int = Field(default=1, ge=0, le=16)
    """Candidates of a rollout that the judge reads, best rule score first.

    0 asks no judge in rollouts: rule scores are backed up instead. It never exceeds `expand_k`.
    """

    soft_max_concurrency: int = Field(default=1, ge=1, le=64)
    """Judge calls of one rollout that travel together. 1 judges one after the other."""

    exploration: float = Field(default=1.0, ge=0, le=100)
    """Weight of the second term of UCT. 0 is greedy."""

    early_exit: EarlyExitKnobs = EarlyExitKnobs()
    """When a reply is good enough to stop."""

    prefetch: bool = False
    """Whether the first expansion is asked beside the root's judgement.

    Saves a round; wastes one call when the root's judgement ends the search.
    """

    rejudge_final: bool = True
    """Whether the chosen reply is judged once more. The new score is reported; the pick stays."""

    assistant_check_top_n: int = Field(default=0, ge=0, le=64)
    """Leading replies that are checked for sounding like an assistant, once, at the end."""

    assistant_check_max_concurrency: int = Field(default=4, ge=1, le=4)
    """Assistant checks that travel together."""

    max_top_ups: int = Field(default=1, ge=0, le=1)
    """Extra expansions in a search, asked when an expansion's strategies are too alike."""

    top_up_similarity: float = Field(default=0.6, ge=0, le=1)
    """Similarity from which two strategy tags count as the same strategy."""

    max_calls: int | None = Field(default=None, ge=0)
    """Cap on the calls that the search proposes; None leaves it to the other knobs.

    Repairs and retries of a call are the budget's business, not counted here.
    """

    stage_presets: Literal["auto", "off"] = "auto"
    """Whether the stage of the relationship may set rollouts, expand_k and min_rollouts."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides between nodes that deserve the next visit equally."""

    @property
    def picks_per_rollout(self) -> int:
        """Judge calls that one rollout asks at most."""
        return min(self.soft_top_n, self.expand_k)

    @property
    def final_calls(self) -> int:
        """Judge calls held back for the end: 1 with `rejudge_final`, else 0."""
        return int(self.rejudge_final)
