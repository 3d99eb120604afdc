"""Knobs of a search, each with its range, and presets of its size by relationship stage.

Stages are Knapp's. People who have just met are worth more search: a first impression is hard
to mend. `bonding` is searched like `integrating`, its neighbour on the way up; no source sets
it apart.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

from lats.policy_registry import CLASSIC, is_registered
from lats.strategies import STRATEGIES

__all__ = [
    "ClassicKnobs",
    "EarlyExitKnobs",
    "PolicyName",
    "ReflectionKnobs",
    "SearchKnobs",
    "with_stage",
]


def _registered_or(name: Any, built_in: Callable[[Any], Any]) -> Any:
    """Let the names of registered policies pass; they are in no schema and no page."""
    return name if is_registered(name) else built_in(name)


if TYPE_CHECKING:
    PolicyName = str
else:
    PolicyName = Annotated[Literal[(CLASSIC, *STRATEGIES)], WrapValidator(_registered_or)]

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EarlyExitKnobs(BaseModel):
    """Gates of a judged reply that is good enough to stop. Every gate must be passed.

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


class ReflectionKnobs(BaseModel):
    """Rules by which repeated failings of candidates become a guideline for the next ones."""

    model_config = _STRICT

    enabled: bool = False
    """Whether guidelines are made and carried."""

    ttl_turns: int = Field(default=3, ge=1, le=100)
    """Turns that a guideline lives, the one that made it included."""


class ClassicKnobs(BaseModel):
    """The settings that `classic_uct` reads. The defaults cost 11 calls in 11 rounds."""

    model_config = _STRICT

    policy: PolicyName = "classic_uct"
    """The search that runs."""

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
    """Gates of a reply that is good enough to stop."""

    prefetch: bool = False
    """Whether the first expansion is asked together with the root's judgement.

    Saves a round; wastes one call when the root's judgement ends the search.
    """

    rejudge_final: bool = True
    """Whether the chosen reply is judged once more. The new score is reported; the pick stays."""

    assistant_check_top_n: int = Field(default=0, ge=0, le=64)
    """Leading replies that are checked for sounding like an assistant, once, at the end."""

    max_top_ups: int = Field(default=1, ge=0, le=1)
    """Extra expansions in a search, asked when an expansion's strategies are too alike."""

    max_calls: int | None = Field(default=None, ge=0)
    """Cap on the search's calls; None leaves it to the other knobs (`classic_uct`), or to
    the policy's own default of 6.

    Where the driver has a budget, repairs and retries count against it too.
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


class SearchKnobs(ClassicKnobs):
    """All settings of one search, whatever its policy.

    Policies other than `classic_uct` read `max_calls`, `early_exit`, `seed`
    and the knobs below; the rest of the above is `classic_uct`'s own.
    """

    judging: Literal["listwise", "pointwise", "pairwise", "agreement"] = "listwise"
    """Comparison of candidates: many in one call, one per call, two per call in a knock-out,
    or by whether they agree and pass the judge's checks (for answers that can be checked).
    A knock-out is for one set of candidates: a tree reads lists in its place."""

    generate_k: int = Field(default=4, ge=1, le=32)
    """Candidates that one call from scratch asks for. Where a search has one such call only, it
    asks for half more."""

    refine_k: int = Field(default=4, ge=1, le=32)
    """Candidates that one call asks for when it improves on leaders, or takes the next step."""

    refine: bool | None = None
    """Whether leading answers are improved on. Where not, the remaining calls go to judging.

    None refines in `posterior_uct` and `halving`, which grow a tree, and under an exact verifier:
    under a noisy judge the luck of a leader is refined as often as its quality, see
    docs/search.md. Next steps are no refinements, and always asked for.
    """

    leaders: int = Field(default=2, ge=1, le=8)
    """Leading candidates that are improved on, and carried into judge calls as anchors."""

    max_candidates: int | None = Field(default=None, ge=1, le=1024)
    """Candidates from scratch after which no more are asked for. The more there are, the
    likelier it is that the best score is a judge's error. None: 8; in `best_of_n`
    as many as the cap can judge once. Agreement has no such limit, nor has an exact verifier
    where this is None."""

    max_passes: int | None = Field(default=None, ge=1, le=64)
    """Times that the judge may read the same candidate. More repeats a judge's bias rather
    than removing its noise. None: 4 where answers are improved on or candidates are steps, else
    64. Agreement has no such limit."""

    max_items: int = Field(default=12, ge=2, le=64)
    """Candidates that one judge call may read."""

    max_depth: int | None = Field(default=None, ge=1, le=64)
    """Steps from the start to an answer, for tasks of that many steps; None where every
    candidate is an answer, or where it is not known."""

    tree_exploration: float = Field(default=0.3, ge=0, le=100)
    """Weight of the bonus for leaves seldom visited, in standard deviations of the scores.
    0 is greedy."""

    parallel_leaves: int = Field(default=1, ge=1, le=16)
    """Leaves that a tree expands in one round. More saves rounds, not calls."""

    min_gain: float | None = Field(default=None, ge=0, le=10)
    """Stop when the next call promises less than this, in standard deviations of the scores
    within a judge call, which are measured. 0 spends the cap as planned, which is the default
    but in `auto`: that reads it beyond its first six calls, .02 where it is None. Agreement does
    not read it: it has no noise to compute a gain from.

    The knob between quality and calls: judging goes pass by pass then, which costs rounds.
    """

    stop_score: float | None = Field(default=None, ge=0, le=1)
    """Stop as soon as an answer's mean score reaches this. 1 means that the judge is an exact
    verifier: its scores do not drift, and a tree asks it once."""

    judge_reliability: float = Field(default=0.4, ge=0.05, le=0.95)
    """Assumed correlation of two judgements of the same candidates, until it was measured."""

    rubrics: tuple[str, ...] = Field(default=("overall",), min_length=1, max_length=16)
    """Names of the rubrics that judge passes cycle through."""

    attribute_weights: dict[str, float] = {}
    """Weights of the judge's scores in the one that counts, `score` being the overall one; a
    negative weight means the less the better. Empty takes the overall score alone."""

    judge_logprobs: int = Field(default=0, ge=0, le=20)
    """Likeliest tokens that the judge's endpoint is asked for at each place, so that a score is
    the mean over what it nearly said. 0 asks for none; endpoints that have none change nothing."""

    reflection: ReflectionKnobs = ReflectionKnobs()
    """Guidelines from repeated failures."""


_FIRST_MEETING = {"rollouts": 4, "expand_k": 2, "early_exit.min_rollouts": 1}
_GROWING_CLOSE = {"rollouts": 2, "expand_k": 1}
_GROWING_APART = {"rollouts": 3, "expand_k": 1}
_KNOBS_OF_STAGES = {
    "initiating": _FIRST_MEETING,
    "experimenting": _FIRST_MEETING,
    "intensifying": _GROWING_CLOSE,
    "integrating": _GROWING_CLOSE,
    "bonding": _GROWING_CLOSE,
    "differentiating": _GROWING_APART,
    "circumscribing": _GROWING_APART,
    "stagnating": _GROWING_APART,
    "avoiding": _GROWING_APART,
    "terminating": _GROWING_APART,
}
"""Knobs by Knapp's stage, five of coming together and five of coming apart."""


def _explicit_names(knobs: BaseModel, prefix: str = "") -> frozenset[str]:
    """Return the dotted names of the knobs that were given rather than defaulted."""
    names: set[str] = set()
    for name in knobs.model_fields_set:
        inner = getattr(knobs, name)
        if isinstance(inner, BaseModel):
            names |= _explicit_names(inner, f"{prefix}{name}.")
        else:
            names.add(prefix + name)
    return frozenset(names)


def with_stage(knobs: SearchKnobs, stage: str | None) -> SearchKnobs:
    """Return the knobs as a stage of the relationship sets them.

    It leaves alone each knob that was given when `knobs` was made, and all of them with
    `stage_presets="off"` or where the stage is not known (None).

    Raises:
        ValueError: when the stage is none of Knapp's.
    """
    if knobs.stage_presets == "off" or stage is None:
        return knobs
    if stage not in _KNOBS_OF_STAGES:
        raise ValueError(f"unknown stage {stage!r}: expected one of {list(_KNOBS_OF_STAGES)}")
    kept = _explicit_names(knobs)
    changes: dict[str, Any] = {
        name: value for name, value in _KNOBS_OF_STAGES[stage].items() if name not in kept
    }
    if (least := changes.pop("early_exit.min_rollouts", None)) is not None:
        changes["early_exit"] = knobs.early_exit.model_copy(update={"min_rollouts": least})
    return knobs.model_copy(update=changes)
