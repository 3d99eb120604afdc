"""The gates of an early exit: is this reply good enough to stop searching?"""

from lats.judgement import Judgement
from lats.knobs import EarlyExitKnobs

__all__ = ["closed_gates"]


def _reaches(figure: float | None, least: float) -> bool:
    return figure is not None and figure >= least


def closed_gates(judgement: Judgement | None, knobs: EarlyExitKnobs) -> tuple[str, ...]:
    """Return the names of the knobs that forbid an early exit; none means it may happen.

    Args:
        judgement: what the judge said of the reply that would be answered, or None.
            A missing field keeps its gate closed.
        knobs: the gates. `min_rollouts` is not looked at.
    """
    if not knobs.enabled:
        return ("enabled",)
    said = judgement or Judgement()
    is_open = {
        "min_root_score": _reaches(said.score, knobs.min_root_score),
        "min_plan_alignment": _reaches(said.plan_alignment, knobs.min_plan_alignment),
        "max_assistantness": said.assistantness is not None
        and said.assistantness <= knobs.max_assistantness,
        "min_mode_fit": _reaches(said.mode_fit, knobs.min_mode_fit),
    }
    return tuple(name for name, passed in is_open.items() if not passed)
