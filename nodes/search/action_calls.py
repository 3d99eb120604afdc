"""What a turn's material says in every prompt of the search, by who reads it.

Generate, refine and judge a list, as calls: what every search but the classic one asks.

A set of candidates costs one call however many it holds, and so does reading them beside
each other. What a model wrote before, and what was learned of it (guidelines), is untrusted
and stands in the material like all else.

The search's proposals as calls, and the calls' answers as what the search is told.

Every call's first message is a prompt that never changes, so that a provider's prompt
cache serves it; all that is of this turn, and so untrusted, is one JSON object in the
second. What the classic search asks is here, what all others ask in `search_moves`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lats.actions import (
    CheckAssistant,
    ExpandNode,
    FinalJudge,
    Generate,
    JudgeCandidate,
    JudgeList,
    Move,
    PlanRoot,
    Proposal,
    Refine,
    TopUp,
)
from lats.answers import NodeId
from lats.policies import start_search
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs
from lats.search_tree import Candidate, Forest
from lats.tree import Tree
from nodes.prompt import chat, lines_shown
from nodes.records import Language
from nodes.search.action_answers import (
    AssistantCheck,
    CandidateSet,
    Judgement,
    RootPlan,
    Variants,
    labels_shown,
)
from nodes.search.judge_rubrics import rubric_called
from nodes.search_material import SearchMaterial
from turnwise.calls.call import Call, Message, Sampling
from turnwise.calls.vocabulary import Purpose, Role

__all__ = [
    "REPLY_LEASE",
    "call_for",
    "generate_call",
    "goal_of",
    "judge_list_call",
    "judging_fields",
    "judging_messages",
    "refine_call",
    "reply_call",
    "task_fields",
    "writing_fields",
]


def task_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a message is to do, the same in all calls of a turn, then what one call asks.

    Args:
        material: of this turn.
        asked: what this call asks for, the steadier first; empty ones are left out.
    """
    lasting = {name: material.lasting.get(name) for name in ("plan", "style")}
    return {name: value for name, value in (lasting | asked).items() if value}


def judging_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a judge needs to see. Not the thoughts, which no user will see.

    Args:
        material: of this turn.
        asked: as in `task_fields`.
    """
    lasting = material.lasting
    return {
        "persona": lasting.get("persona"),
        "chat": lasting["chat"],
        "stage": material.stage,
        "mode": material.mode,
        "task": task_fields(material, **asked),
    }


def writing_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what whoever writes a reply needs to see; see `judging_fields`."""
    lasting = material.lasting
    return {
        **judging_fields(material, **asked),
        "summary": material.summary,
        "memories": lasting.get("memories"),
        "monologue": lasting.get("monologue"),
    }


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


REPLY_LEASE = "reply"
"""The lease that the root plan, or the first generation, draws on: it is the call that the
reply must have."""

PLAN_SAMPLING = Sampling(max_tokens=1000)
JUDGE_SAMPLING = Sampling(max_tokens=500)
CHECK_SAMPLING = Sampling(max_tokens=200)
"""The longest answers, which is also what is reserved for them. Temperatures are left to
the endpoint, since some models refuse one."""

EXPAND_TOKENS, EXPAND_TOKENS_PER_CANDIDATE = 200, 500
"""Longest answer of an expansion: so much, and so much more for each candidate."""


def call_for(
    proposal: Proposal | Move,
    tree: Tree | Forest,
    material: SearchMaterial,
    *,
    max_repairs: int = 1,
    judge_logprobs: int = 0,
) -> Call:
    """Return the call that answers a proposal.

    Args:
        proposal: what the search wants.
        tree: the search's tree, where the proposal's nodes stand.
        material: of this turn.
        max_repairs: times that an answer of the wrong form is asked again.
        judge_logprobs: likeliest tokens that the judge of a list is to tell; 0 asks for none.

    Raises:
        ConfigError: when a list is to be judged by a rubric that there is not.
        TypeError: when the tree is not of the search that made the proposal.
    """
    if isinstance(tree, Forest):
        call = _move_call(proposal, tree, material, judge_logprobs)
    else:
        call = _classic_call(proposal, tree, material)
    return call if call.max_repairs == max_repairs else replace(call, max_repairs=max_repairs)


def reply_call(knobs: SearchKnobs, material: SearchMaterial) -> Call:
    """Return the call that a search under these knobs begins with, to see what it would take.

    It is the one that draws on the reply's lease. A search that may ask nothing is taken
    for one that may ask a single call.

    Args:
        knobs: of the search.
        material: of this turn, as far as it is known.
    """
    context = ReplyContext(user_text=material.user_text, language=material.language)
    able = knobs if knobs.max_calls != 0 else knobs.model_copy(update={"max_calls": 1})
    policy = start_search(able, context)
    return call_for(policy.ask()[0], policy.tree, material)


def _move_call(
    move: Proposal | Move, forest: Forest, material: SearchMaterial, judge_logprobs: int
) -> Call:
    match move:
        case Generate():
            return generate_call(move, forest, material, first_lease=REPLY_LEASE)
        case Refine():
            return refine_call(move, forest, material)
        case JudgeList():
            return judge_list_call(move, forest, material, top_logprobs=judge_logprobs)
        case other:
            raise TypeError(f"a {type(other).__name__} is of another search than this tree")


def _classic_call(proposal: Proposal | Move, tree: Tree, material: SearchMaterial) -> Call:
    match proposal:
        case PlanRoot():
            return _plan_call(material)
        case ExpandNode() | TopUp():
            return _expand_call(proposal, material, tree)
        case JudgeCandidate() | FinalJudge():
            return _judge_call(proposal, material, tree)
        case CheckAssistant():
            return _check_call(proposal, material, tree)
        case other:
            raise TypeError(f"a {type(other).__name__} is of another search than this tree")


def _goal(tree: Tree) -> Any:
    return tree.root.draft.payload.get("goal") if len(tree) else None


def _plan_call(material: SearchMaterial) -> Call:
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN,
        messages=chat("lats_plan", material.language, **writing_fields(material)),
        response_model=RootPlan,
        sampling=PLAN_SAMPLING,
        lease=REPLY_LEASE,
    )


def _expand_call(proposal: ExpandNode | TopUp, material: SearchMaterial, tree: Tree) -> Call:
    parent = tree.nodes[proposal.node_id].draft
    messages = chat(
        "lats_expand",
        material.language,
        **writing_fields(
            material,
            goal=_goal(tree),
            count=proposal.k,
            strategies_used=proposal.strategies_used,
        ),
        parent={"reply": parent.reply, "strategy_tag": parent.strategy_tag},
    )
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=messages,
        response_model=Variants,
        sampling=Sampling(max_tokens=EXPAND_TOKENS + EXPAND_TOKENS_PER_CANDIDATE * proposal.k),
        sample=proposal.attempt,
        speculative=isinstance(proposal, ExpandNode) and proposal.is_speculative,
    )


def _judge_call(
    proposal: JudgeCandidate | FinalJudge, material: SearchMaterial, tree: Tree
) -> Call:
    messages = judging_messages(
        "lats_judge",
        rubric_called("overall").sub_scores(material.language),
        material.language,
        **judging_fields(material, goal=_goal(tree)),
        reply=tree.nodes[proposal.node_id].draft.reply,
    )
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=messages,
        response_model=Judgement,
        sampling=JUDGE_SAMPLING,
        sample=proposal.look,
    )


def _check_call(proposal: CheckAssistant, material: SearchMaterial, tree: Tree) -> Call:
    messages = chat(
        "lats_check",
        material.language,
        persona=material.lasting.get("persona"),
        chat=lines_shown((), material.user_text),
        reply=tree.nodes[proposal.node_id].draft.reply,
    )
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.CHECK,
        messages=messages,
        response_model=AssistantCheck,
        sampling=CHECK_SAMPLING,
    )
