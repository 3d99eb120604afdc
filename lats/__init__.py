"""The tree search: plain synchronous maths with `ask` and `tell`, independent of models."""

from lats.actions import Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.chance_calibration import (
    CalibrationError,
    ChanceCalibration,
    fit_calibration,
    labelled,
    load_calibration,
)
from lats.judge_report import pool_reports
from lats.policies import resume_search, start_search
from lats.policy import RemainingCalls, drive
from lats.policy_checks import PolicyError
from lats.policy_registry import register_policy
from lats.problem import JudgedState, Problem, ProblemPass, ProposalContext
from lats.ranking import leading, ranked
from lats.result import Confidence, ProposerStats, SearchResult, StateError, StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_schedule import CallsLeft, judge_round, unread
from lats.search_state import SearchState
from lats.search_text import render_tree
from lats.search_tree import Candidate
from lats.similarity import identity_key, text_key
from lats.solving import Solution, resume, resume_sync, solve, solve_all, solve_sync
from lats.spending import Priced
from lats.state_search import Request, StateSearch

# fmt: off
__all__ = [
    "CalibrationError", "CallsLeft", "Candidate", "ChanceCalibration", "Confidence", "Draft",
    "Drafts", "Generate", "JudgeList", "JudgedState", "NoAnswer", "PolicyError", "PosteriorSearch",
    "Priced", "Problem", "ProblemPass", "ProposalContext", "ProposerStats", "Refine",
    "RemainingCalls", "Request", "SearchKnobs", "SearchResult", "SearchState", "Solution",
    "StateError", "StateSearch", "StopReason", "Verdict", "Verdicts", "drive", "fit_calibration",
    "identity_key", "judge_round", "labelled", "leading", "load_calibration", "pool_reports",
    "ranked", "register_policy", "render_tree", "resume", "resume_search", "resume_sync", "solve",
    "solve_all", "solve_sync", "start_search", "text_key", "unread",
]
# fmt: on
