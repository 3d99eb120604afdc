"""The whole state of the classic search, as a record that is plain JSON when dumped."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lats.draft import Draft
from lats.fast_score import ReplyContext
from lats.judgement import Judgement
from lats.knobs import ClassicKnobs
from lats.policy import StateError
from lats.proposal import Kind, Proposal, ProposalId, Told
from lats.result import StopReason
from lats.tree import NodeId, Tree

__all__ = ["STATE_VERSION", "ClassicState", "Phase", "load_state"]

STATE_VERSION = 1
"""Changes when a state of an earlier version could no longer be read."""


class Phase(StrEnum):
    """What the next round is for."""

    PLAN = "plan"
    ROOT = "root"
    EXPAND = "expand"
    TOP_UP = "top_up"
    JUDGE = "judge"
    CHECK = "check"
    FINAL = "final"
    DONE = "done"


class ClassicState(BaseModel):
    """Everything the classic search remembers. No clock, no generator."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    policy: Literal["classic_uct"] = "classic_uct"
    knobs: ClassicKnobs
    context: ReplyContext
    phase: Phase = Phase.PLAN
    tree: Tree

    open_round: list[Proposal] = []
    """The round under way, in the order in which its answers are taken in."""

    told: dict[ProposalId, Told] = {}
    """Answers to the open round, until all are there."""

    closed_ids: set[ProposalId] = set()
    """Proposals of earlier rounds. Telling one again is ignored."""

    leaf_id: NodeId | None = None
    """The node whose variants this rollout asks for."""

    drafts: list[Draft] | None = None
    """Variants of the leaf that have not become nodes yet; None when no answer came."""

    missing: int = 0
    """Strategies that the leaf's variants lack."""

    to_judge: list[NodeId] = []
    to_check: list[NodeId] = []
    rollouts_done: int = 0
    top_ups_used: int = 0
    stop_reason: StopReason | None = None

    exit_id: NodeId | None = None
    """The node that passed all gates."""

    final_judgement: Judgement | None = None
    rounds: int = 0
    asked: dict[Kind, int] = {}
    failed: dict[Kind, int] = {}

    def dump(self) -> dict[str, Any]:
        """Return the state as plain JSON, the same however the answers were ordered."""
        state = self.model_dump(mode="json")
        state["closed_ids"] = sorted(state["closed_ids"])
        state["told"] = dict(sorted(state["told"].items()))
        return state


def load_state(state: Mapping[str, Any]) -> ClassicState:
    """Return a saved state.

    Raises:
        StateError: when it is of another version or policy, or broken.
    """
    if state.get("policy") != "classic_uct":
        raise StateError(f"expected a state of classic_uct, got one of {state.get('policy')!r}")
    if state.get("version") != STATE_VERSION:
        raise StateError(
            f"expected a state of version {STATE_VERSION}, got version {state.get('version')!r}"
        )
    try:
        return ClassicState.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "state"
        raise StateError(f"broken state of a search: {where}: {first['msg']}") from error
