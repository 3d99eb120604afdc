"""The regression gate: calls per turn of a run compared with a committed baseline."""

from turnwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from turnwise.testing.gate.gate_comparison import (
    Finding,
    GateComparison,
    GatedFigure,
    compare,
    require_exact,
)
from turnwise.testing.gate.gate_exceptions import (
    GateException,
    Quarantine,
    read_quarantine,
)
from turnwise.testing.gate.gates import Gates, parse_gates
from turnwise.testing.gate.live_gate import compare_live
from turnwise.testing.gate.presenter import finding_lines, verdict
from turnwise.testing.gate.run_figures import baseline_of_run

__all__ = [
    "Baseline",
    "CallGroup",
    "Finding",
    "GateComparison",
    "GateException",
    "GatedFigure",
    "Gates",
    "Quarantine",
    "TurnFigures",
    "baseline_of_run",
    "compare",
    "compare_live",
    "finding_lines",
    "parse_gates",
    "read_quarantine",
    "require_exact",
    "verdict",
]
