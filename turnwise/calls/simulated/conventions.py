"""What a property's name says about its value. Documented in docs/simulated-model.md."""

from enum import StrEnum, auto
from functools import lru_cache

__all__ = ["NEVER_EMPTY", "REPLY_KINDS", "Convention", "convention_of"]


class Convention(StrEnum):
    """The meaning of a property's name."""

    REPLY = auto()
    """A reply with a hidden quality."""
    TEXT = auto()
    """A reply, a bubble of one, or a sentence: the place decides."""
    BUBBLES = auto()
    """A reply, cut."""
    CANDIDATES = auto()
    """Several replies."""
    STRATEGY = auto()
    ID = auto()
    BEST = auto()
    """The id of the best candidate."""
    RANK = auto()
    VERDICTS = auto()
    """One entry a candidate, in the order shown."""
    RANKING = auto()
    """One entry a candidate, best first."""
    EVIDENCE = auto()
    GOAL = auto()
    SCORE = auto()
    """A judge's reading; higher is better."""
    ASSISTANTNESS = auto()
    """How much a reply sounds like an assistant; lower is better."""
    RISK = auto()
    """A judge's reading; lower is better."""
    LOW = auto()
    """Something that is weak most of the time."""
    SIGNED = auto()
    """A small change, up or down."""
    SECONDS = auto()
    LANGUAGE = auto()
    WORD = auto()
    OTHER = auto()


_NAMES: dict[Convention, str] = {
    Convention.REPLY: "reply final_reply response answer utterance rewritten_reply",
    Convention.TEXT: "text message content",
    Convention.BUBBLES: "replies messages bubbles",
    Convention.CANDIDATES: "candidates variants drafts alternatives",
    Convention.STRATEGY: "strategy strategy_tag tag",
    Convention.ID: "id candidate_id",
    Convention.BEST: "best best_id winner winner_id pick chosen chosen_id selected_id",
    Convention.RANK: "rank position place",
    Convention.VERDICTS: "scores verdicts ratings judgements judgments evaluations assessments",
    Convention.RANKING: "ranking rankings order ranked",
    Convention.EVIDENCE: "evidence quote quotes evidence_quote verbatim",
    Convention.GOAL: "goal goals aims intentions",
    Convention.SCORE: (
        "score overall overall_score quality plan_alignment alignment persona persona_fit "
        "persona_consistency relationship_fit mode_fit style_fit immersion naturalness "
        "engagingness coherence groundedness empathy fluency relevance human_likeness"
    ),
    Convention.ASSISTANTNESS: (
        "assistantness assistant_likeness assistant_like is_assistant_like assistant_tone "
        "is_assistant sounds_like_assistant"
    ),
    Convention.RISK: "risk safety_risk toxicity harm penalty leak_risk ooc_risk",
    Convention.LOW: (
        "hostility aggression vagueness ambiguity anger distress tension urgency irritation "
        "conflict sarcasm"
    ),
    Convention.LANGUAGE: "language lang",
    Convention.WORD: (
        "word topic topics title name label keyword keywords key theme emotion mood category "
        "kind type tone tags subject entity place_name signal signals"
    ),
}

_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split()}

_BY_ENDING: tuple[tuple[str, Convention], ...] = (
    ("_score", Convention.SCORE),
    ("_fit", Convention.SCORE),
    ("_alignment", Convention.SCORE),
    ("_risk", Convention.RISK),
    ("_delta", Convention.SIGNED),
    ("_change", Convention.SIGNED),
    ("_seconds", Convention.SECONDS),
    ("_reply", Convention.REPLY),
    ("_strategy", Convention.STRATEGY),
    ("_quote", Convention.EVIDENCE),
    ("_evidence", Convention.EVIDENCE),
    ("_goal", Convention.GOAL),
    ("_goals", Convention.GOAL),
)

NEVER_EMPTY = frozenset(
    {
        Convention.REPLY,
        Convention.TEXT,
        Convention.BUBBLES,
        Convention.CANDIDATES,
        Convention.STRATEGY,
        Convention.ID,
        Convention.BEST,
        Convention.RANK,
        Convention.VERDICTS,
        Convention.RANKING,
    }
)
"""What is written even where null would fit."""


REPLY_KINDS = frozenset({Convention.REPLY, Convention.BUBBLES})
"""What a reply may be under."""


@lru_cache(maxsize=4096)
def convention_of(name: str) -> Convention:
    """Return what a property's name means; `OTHER` when nothing is agreed on it."""
    lower = name.lower()
    known = _BY_NAME.get(lower)
    if known is not None:
        return known
    if lower.startswith("delta_") or lower == "delta":
        return Convention.SIGNED
    return next((kind for end, kind in _BY_ENDING if lower.endswith(end)), Convention.OTHER)
