"""Generate, refine and judge a list, as calls: what every search but the classic one asks.

A set of candidates costs one call however many it holds, and so does reading them beside
each other. What a model wrote before, and what was learned of it (guidelines), is untrusted
and stands in the material like all else.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lats.candidate import Candidate, Forest
from lats.moves import Generate, JudgeList, Refine
from lats.tree import NodeId
from nodes.prompt import chat
from nodes.search_answers import CandidateSet, Variants
from nodes.search_fields import judging_fields, writing_fields
from nodes.search_material import SearchMaterial
from nodes.search_rubrics import Rubric, rubric_called
from nodes.search_verdicts import labelled
from turnwise.calls.call import Call, Message, Sampling
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["generate_call", "goal_of", "judge_list_call", "refine_call"]

SET_TOKENS, SET_TOKENS_PER_CANDIDATE = 300, 500
"""Longest answer of a call that writes candidates: so much, and so much more for each."""

LIST_TOKENS, LIST_TOKENS_PER_CANDIDATE = 200, 200
"""The same of a call that judges a list."""

MAX_STRATEGIES_USED = 24
"""Latest strategy tags that a prompt names."""


def goal_of(forest: Forest, node_id: NodeId) -> str:
    """Return what a candidate is to reach, as whoever first wrote it or its parent said."""
    goals = (node.draft.payload.get("goal") for node in forest.path_to_start(node_id))
    return next((goal for goal in goals if isinstance(goal, str) and goal), "")


def _strategies(candidates: Iterable[Candidate]) -> list[str]:
    tags = dict.fromkeys(node.draft.strategy_tag for node in candidates if node.draft.strategy_tag)
    return list(tags)[-MAX_STRATEGIES_USED:]


def _set_sampling(k: int) -> Sampling:
    return Sampling(max_tokens=SET_TOKENS + SET_TOKENS_PER_CANDIDATE * k)


def generate_call(
    move: Generate, forest: Forest, material: SearchMaterial, *, first_lease: str
) -> Call:
    """Return the call that writes candidates from scratch.

    The first one of a search is the call that the reply must have, and is a plan: every
    later one could be done without.

    Args:
        move: what the search wants. Its attempt is the sample index, so that equal prompts
            of one round are answered anew.
        forest: what was proposed so far; its strategies are not to come again.
        material: of this turn.
        first_lease: the lease that the first generation may draw on.
    """
    is_first = move.attempt == 0
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN if is_first else Purpose.EXPAND,
        messages=chat(
            "lats_generate",
            material.language,
            **writing_fields(material),
            count=move.k,
            strategies_used=_strategies(forest.candidates),
            guidelines=move.guidelines,
        ),
        response_model=CandidateSet,
        sampling=_set_sampling(move.k),
        sample=move.attempt,
        lease=first_lease if is_first else None,
    )


def refine_call(move: Refine, forest: Forest, material: SearchMaterial) -> Call:
    """Return the call that improves on candidates; see `generate_call`."""
    leaders = [forest.nodes[node_id] for node_id in move.node_ids]
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=chat(
            "lats_refine",
            material.language,
            **writing_fields(material, goal=goal_of(forest, move.node_ids[0]) or None),
            parents=[_parent(leader) for leader in leaders],
            count=move.k,
            strategies_used=_strategies(forest.candidates),
            guidelines=move.guidelines,
        ),
        response_model=Variants,
        sampling=_set_sampling(move.k),
        sample=move.attempt,
    )


def _parent(node: Candidate) -> dict[str, Any]:
    """Return a leader as a prompt shows it: the reply, and what the judge said of it."""
    shown: dict[str, Any] = {"reply": node.draft.reply, "strategy_tag": node.draft.strategy_tag}
    verdict = node.verdict
    if verdict is not None:
        shown["scores"] = {"score": node.mean_score, **verdict.attributes}
        shown["critique"] = verdict.reason
    return shown


def judge_list_call(
    move: JudgeList, forest: Forest, material: SearchMaterial, *, top_logprobs: int = 0
) -> Call:
    """Return the call that reads candidates beside each other.

    Args:
        move: what the search wants. Its look is the sample index.
        forest: where the candidates stand.
        material: of this turn.
        top_logprobs: likeliest tokens to tell at each place; 0 asks for none.

    Raises:
        ConfigError: when there is no such rubric.
    """
    rubric = rubric_called(move.rubric)
    shown = [
        {"id": label, "reply": forest.nodes[node_id].draft.reply}
        for label, node_id in labelled(move.node_ids).items()
    ]
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=_judging_messages(rubric, material, shown),
        response_model=rubric.answer,
        sampling=Sampling(
            max_tokens=LIST_TOKENS + LIST_TOKENS_PER_CANDIDATE * len(shown),
            top_logprobs=top_logprobs or None,
        ),
        sample=move.look,
    )


def _judging_messages(
    rubric: Rubric, material: SearchMaterial, shown: list[dict[str, str]]
) -> tuple[Message, ...]:
    """Return the judge's messages; the rubric is ours, so it stands with the instructions."""
    system, user = chat(
        "lats_judge_list", material.language, **judging_fields(material), candidates=shown
    )
    return replace(system, content=f"{system.content}\n\n{rubric.text(material.language)}"), user
