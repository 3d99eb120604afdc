"""The tree search: plain synchronous maths with `ask` and `tell`, independent of models."""

from lats.actions import Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.policies import resume_search, start_search
from lats.policy import RemainingCalls, drive
from lats.problem import Solution, resume, solve
from lats.problem_rounds import Problem
from lats.result import Confidence, SearchResult, StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_text import render_tree

__all__ = [
    "Confidence",
    "Draft",
    "Drafts",
    "Generate",
    "JudgeList",
    "NoAnswer",
    "PosteriorSearch",
    "Problem",
    "Refine",
    "RemainingCalls",
    "SearchKnobs",
    "SearchResult",
    "Solution",
    "StopReason",
    "Verdict",
    "Verdicts",
    "drive",
    "render_tree",
    "resume",
    "resume_search",
    "solve",
    "start_search",
]
