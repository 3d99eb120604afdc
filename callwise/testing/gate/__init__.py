"""The regression gate: calls per turn of a run compared with a committed baseline."""

from callwise.knobs.gates import Gates, parse_gates
from callwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from callwise.testing.gate.gate_comparison import (
    Finding,
    GateComparison,
    GatedFigure,
    compare,
    require_exact,
)
from callwise.testing.gate.gate_exceptions import (
    GateException,
    Quarantine,
    read_quarantine,
)
from callwise.testing.gate.live_gate import compare_live
from callwise.testing.gate.presenter import finding_lines, verdict
from callwise.testing.gate.run_figures import baseline_of_run

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
