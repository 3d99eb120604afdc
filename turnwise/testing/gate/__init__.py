"""Holding a run to what it was: calls a turn, and on request what they cost."""

from turnwise.testing.gate.baseline import BASELINE_VERSION, Baseline
from turnwise.testing.gate.causes import Causes, KnobChange
from turnwise.testing.gate.comparable import require_exact
from turnwise.testing.gate.counting import CallPath, TurnFigures
from turnwise.testing.gate.drift import Drift, Figure, Finding, Held, compare
from turnwise.testing.gate.gates import Gates, parse_gates
from turnwise.testing.gate.live import LiveDrift, compare_live
from turnwise.testing.gate.quarantine import Case, Quarantine, put_in_quarantine, read_quarantine
from turnwise.testing.gate.wording import finding_lines, verdict

__all__ = [
    "BASELINE_VERSION",
    "Baseline",
    "CallPath",
    "Case",
    "Causes",
    "Drift",
    "Figure",
    "Finding",
    "Gates",
    "Held",
    "KnobChange",
    "LiveDrift",
    "Quarantine",
    "TurnFigures",
    "compare",
    "compare_live",
    "finding_lines",
    "parse_gates",
    "put_in_quarantine",
    "read_quarantine",
    "require_exact",
    "verdict",
]
