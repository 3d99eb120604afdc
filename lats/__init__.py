"""The tree search: plain synchronous maths with `ask` and `tell`. It knows no model."""

from lats.draft import Draft
from lats.drive import drive
from lats.knobs import SearchKnobs
from lats.moves import Generate, JudgeList, Refine
from lats.problem import Problem, Solution, resume, solve
from lats.proposal import Drafts, Failure
from lats.registry import resume_search, start_search
from lats.render import render_tree
from lats.result import Confidence, SearchResult, StopReason
from lats.room import Room
from lats.search import PosteriorSearch
from lats.verdict import Verdict, Verdicts

__all__ = [
    "Confidence",
    "Draft",
    "Drafts",
    "Failure",
    "Generate",
    "JudgeList",
    "PosteriorSearch",
    "Problem",
    "Refine",
    "Room",
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
