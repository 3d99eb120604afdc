"""The search's proposals as calls, and the calls' answers as what the search is told.

Every call's first message is a prompt that never changes, so that a provider's prompt
cache serves it; all that is of this turn, and so untrusted, is one JSON object in the
second. What the classic search asks is here, what all others ask in `search_moves`.
"""

from dataclasses import replace
from typing import Any

from lats.candidate import Forest
from lats.draft import Draft, clean_text
from lats.fast_score import ReplyContext
from lats.judgement import Judgement as SearchJudgement
from lats.knobs import SearchKnobs
from lats.moves import Generate, JudgeList, Move, Refine
from lats.policy import Answer
from lats.proposal import (
    CheckAssistant,
    Drafts,
    ExpandNode,
    Failure,
    FinalJudge,
    JudgeCandidate,
    PlanRoot,
    Proposal,
    TopUp,
)
from lats.registry import start_search
from lats.tree import Tree
from nodes.search_answers import (
    AssistantCheck,
    CandidateSet,
    Judgement,
    RootPlan,
    Variant,
    Variants,
)
from nodes.search_fields import judging_fields, writing_fields
from nodes.search_list_answers import ListVerdicts
from nodes.search_material import SearchMaterial
from nodes.search_moves import (
    generate_call,
    judge_list_call,
    judging_messages,
    labels_shown,
    refine_call,
)
from nodes.search_rubrics import rubric_called
from nodes.search_verdicts import verdicts_of
from nodes.turn import chat, lines_shown
from turnwise.calls.call import Call, Sampling
from turnwise.calls.errors import CallError, CallRefused
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["REPLY_LEASE", "answer_to", "call_for", "reply_call"]

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

MAX_GOAL_CHARS = 300
"""Longest goal of a set that is kept with its candidates, in characters. Longer ones are cut."""

MAX_DETAIL_CHARS = 200
"""Longest account of a failure that a search keeps, in characters."""


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


def _draft(answer: RootPlan | Variant, *, goal: str | None = None) -> Draft:
    payload = answer.model_dump(mode="json", exclude={"reply", "strategy_tag"})
    if goal is not None:
        payload["goal"] = goal
    return Draft(reply=answer.reply, strategy_tag=answer.strategy_tag, payload=payload)


def answer_to(
    proposal: Proposal | Move,
    answer: Reply | CallError,
    tree: Tree | Forest,
    material: SearchMaterial,
) -> Answer:
    """Return what the search is told of a call's end.

    Args:
        proposal: what the search wanted.
        answer: what became of its call.
        tree: the search's tree, as for `call_for`.
        material: of this turn.

    Raises:
        CallError: when going on makes no sense (`is_fatal`).
        TypeError: when whoever answered did not read the answer as its model.
    """
    if isinstance(answer, CallError):
        if answer.is_fatal:
            raise answer
        detail = f"{type(answer).__name__}: {answer}"[:MAX_DETAIL_CHARS]
        return Failure(is_refused=isinstance(answer, CallRefused), detail=detail)
    match answer.parsed:
        case RootPlan() as plan:
            return Drafts(drafts=(_draft(plan),))
        case Variants(candidates=candidates):
            return Drafts(drafts=tuple(_draft(variant) for variant in candidates))
        case CandidateSet(goal=raw, candidates=candidates):
            goal = clean_text(raw, MAX_GOAL_CHARS)
            return Drafts(drafts=tuple(_draft(each, goal=goal) for each in candidates))
        case Judgement() as judgement:
            return SearchJudgement(**judgement.model_dump())
        case AssistantCheck() as check:
            return SearchJudgement(**check.model_dump())
        case ListVerdicts() as verdicts if isinstance(proposal, JudgeList) and isinstance(
            tree, Forest
        ):
            labels = labels_shown(proposal, tree, material)
            return verdicts_of(proposal.node_ids, labels, verdicts, answer)
        case other:
            raise TypeError(f"expected a parsed answer of the search, got {type(other).__name__}")
