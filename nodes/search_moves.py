"""Generate, refine and judge a list, as calls: what every search but the classic one asks.

A set of candidates costs one call however many it holds, and so does reading them beside
each other. What a model wrote before, and what was learned of it (guidelines), is untrusted
and stands in the material like all else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lats.candidate import Candidate, Forest
from lats.moves import Generate, JudgeList, Refine
from lats.tree import NodeId
from nodes.records import Language
from nodes.search_answers import CandidateSet, Variants
from nodes.search_fields import judging_fields, writing_fields
from nodes.search_material import SearchMaterial
from nodes.search_rubrics import rubric_called
from nodes.search_verdicts import candidate_labels
from nodes.turn import chat
from turnwise.calls.call import Call, Message, Sampling
from turnwise.calls.vocabulary import Purpose, Role

__all__ = [
    "generate_call",
    "goal_of",
    "judge_list_call",
    "judging_messages",
    "labels_shown",
    "refine_call",
]

SET_TOKENS, SET_TOKENS_PER_CANDIDATE = 300, 500
"""Longest answer of a call that writes candidates: so much, and so much more for each."""

LIST_TOKENS, LIST_TOKENS_PER_CANDIDATE = 200, 200
"""The same of a call that judges a list."""

MAX_STRATEGIES_USED = 24
"""Latest strategy tags that a prompt names."""

MAX_WEAKEST = 2
"""Lowest sub-scores of a leader that a prompt names, so that they are mended first."""


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
            **writing_fields(
                material,
                guidelines=move.guidelines,
                count=move.k,
                strategies_used=_strategies(forest.candidates),
            ),
        ),
        response_model=CandidateSet,
        sampling=_set_sampling(move.k),
        sample=move.attempt,
        lease=first_lease if is_first else None,
    )


def refine_call(move: Refine, forest: Forest, material: SearchMaterial) -> Call:
    """Return the call that improves on candidates; see `generate_call`.

    Its instructions are those of a generation, so that it shares all but its last fields
    with the generations of its turn.
    """
    leaders = [forest.nodes[node_id] for node_id in move.node_ids]
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=chat(
            "lats_generate",
            material.language,
            **writing_fields(
                material,
                guidelines=move.guidelines,
                goal=goal_of(forest, move.node_ids[0]),
                count=move.k,
                strategies_used=_strategies(forest.candidates),
            ),
            parents=[_parent(leader) for leader in leaders],
        ),
        response_model=Variants,
        sampling=_set_sampling(move.k),
        sample=move.attempt,
    )


def _parent(node: Candidate) -> dict[str, Any]:
    """Return a leader as a prompt shows it: the reply, and what the judge found wrong with it."""
    shown: dict[str, Any] = {"reply": node.draft.reply, "strategy_tag": node.draft.strategy_tag}
    verdict = node.verdict
    if verdict is not None:
        shown["weakest"] = _weakest(verdict.attributes)
        shown["critique"] = verdict.reason
    return {name: value for name, value in shown.items() if value}


def _weakest(attributes: Mapping[str, float]) -> list[str]:
    """Return the lowest sub-scores' names, the worst first; of assistantness, less is better."""
    goodness = {
        name: 1 - value if name == "assistantness" else value for name, value in attributes.items()
    }
    return sorted(goodness, key=goodness.__getitem__)[:MAX_WEAKEST]


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
    replies = [forest.nodes[node_id].draft.reply for node_id in move.node_ids]
    shown = dict(zip(labels_shown(move, forest, material), replies, strict=True))
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=judging_messages(
            "lats_judge_list",
            rubric.text(material.language),
            material.language,
            **judging_fields(material),
            candidates=shown,
        ),
        response_model=rubric.answer,
        sampling=Sampling(
            max_tokens=LIST_TOKENS + LIST_TOKENS_PER_CANDIDATE * len(shown),
            top_logprobs=top_logprobs or None,
        ),
        sample=move.look,
    )


def labels_shown(move: JudgeList, forest: Forest, material: SearchMaterial) -> tuple[str, ...]:
    """Return the labels under which a judge sees the candidates of a list, in their order.

    Two looks at one order have the same, so that they are one prompt.
    """
    replies = [forest.nodes[node_id].draft.reply for node_id in move.node_ids]
    return candidate_labels(replies, material.user_text, move.rubric)


def judging_messages(
    name: str, rubric: str, language: Language, /, **fields: Any
) -> tuple[Message, ...]:
    """Return a judge's messages; the rubric is ours, so it stands with the instructions.

    Args:
        name: name of the prompt.
        rubric: what each score means, and what decides the overall one.
        language: language of the prompt.
        fields: the material.
    """
    system, user = chat(name, language, **fields)
    return replace(system, content=f"{system.content}\n{rubric}"), user
