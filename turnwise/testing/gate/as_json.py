"""What the gate found, as plain JSON for scripts. What is not known is null, never 0."""

from collections.abc import Iterable
from typing import Any

from turnwise.testing.gate.gate_comparison import (
    ChangeCauses,
    Finding,
    GateComparison,
    causes_between,
)
from turnwise.testing.gate.gate_exceptions import GateException
from turnwise.testing.gate.live_gate import LiveComparison

__all__ = ["drift_json", "live_json"]


def _finding(finding: Finding) -> dict[str, Any]:
    conversation, turn = finding.key if finding.key is not None else (None, None)
    path = finding.path
    return {
        "figure": str(finding.figure),
        "conversation": conversation,
        "turn": turn,
        "node": None if path is None else path.node,
        "role": None if path is None else path.role,
        "purpose": None if path is None else path.purpose,
        "before": finding.before,
        "now": finding.now,
    }


def _findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [_finding(finding) for finding in findings]


def _causes(causes: ChangeCauses) -> dict[str, Any]:
    return {
        "knobs": [
            {"knob": change.knob, "before": change.before, "now": change.now}
            for change in causes.knobs
        ],
        "prompts": list(causes.prompts),
        "are_prompts_known": causes.are_prompts_known,
    }


def _cases(cases: Iterable[GateException]) -> list[dict[str, Any]]:
    return [case.model_dump(mode="json") for case in cases]


def drift_json(drift: GateComparison, verdict: str) -> dict[str, Any]:
    """Return a comparison as one JSON object.

    Args:
        drift: what the run is beside its baseline.
        verdict: the one line that says how it went.
    """
    held = [
        {**_finding(each.finding), "owner": each.case.owner, "until": each.case.until.isoformat()}
        for each in drift.held
    ]
    return {
        "passed": not drift.has_failed,
        "verdict": verdict,
        "simulated": drift.current.is_simulated,
        "turns": len(drift.current.turns),
        "calls_a_turn": {
            "before": drift.baseline.mean_calls_a_turn,
            "now": drift.current.mean_calls_a_turn,
        },
        "failures": _findings(drift.failures),
        "allowed": _findings(drift.tolerated),
        "gains": _findings(drift.gains),
        "quarantined": held,
        "expired": _cases(drift.expired),
        "causes": _causes(drift.causes),
    }


def live_json(live: LiveComparison, verdict: str) -> dict[str, Any]:
    """Return the test of a live run as one JSON object; see `drift_json`."""
    return {
        "passed": not live.has_failed,
        "verdict": verdict,
        "simulated": live.current.is_simulated,
        "turns": live.turns,
        "conversations": live.conversations,
        "calls_a_turn": {"before": live.before, "now": live.now},
        "p_value": live.p_value,
        "alpha": live.alpha,
        "can_show_rise": live.can_show_rise,
        "by_path": [
            {"node": path.node, "role": path.role, "purpose": path.purpose, "rise_a_turn": rise}
            for path, rise in live.by_path
        ],
        "quarantined_turns": live.held_turns,
        "expired": _cases(live.expired),
        "causes": _causes(causes_between(live.baseline, live.current)),
    }
