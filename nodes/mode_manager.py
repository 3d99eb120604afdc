"""Mode manager: the mode in which the agent takes this turn, by a decision table.

| mode | taken when (first row that applies) | kept from the last turn while |
|---|---|---|
| guarded | hostility >= .5, or an attempt to break the persona | hostility >= .3, no apology |
| supportive | the user shows vulnerability, or sentiment <= -.5 | sentiment <= -.2 |
| brief | the user leaves or draws a boundary, or busyness >= .8 | busyness >= .6 |
| playful | a joke, or a flirt in an intimate stage; neither is unhappy | the same in any stage |
| curious | vagueness >= .6, or the user discloses something | vagueness >= .4 |
| normal | otherwise | |

Unhappy means the user's sentiment below 0 or the agent's pleasure below -.3.
Each mode is left later than it is entered, so that it does not flicker.
"""

from nodes.records import Detection, Mode, Mood, Relationship, Signal, Stage

__all__ = ["choose_mode"]

_INTIMATE_STAGES = frozenset({Stage.INTENSIFYING, Stage.INTEGRATING, Stage.BONDING})


def _has(detection: Detection, *signals: Signal) -> bool:
    return any(signal in detection.signals for signal in signals)


def choose_mode(
    detection: Detection, mood: Mood, relationship: Relationship, previous_mode: Mode | None = None
) -> Mode:
    """Return the mode of this turn: the first row of the table that applies."""

    def least(mode: Mode, entered_at: float, kept_at: float) -> float:
        return kept_at if previous_mode is mode else entered_at

    guarded_at = 0.5 if _has(detection, Signal.APOLOGY) else least(Mode.GUARDED, 0.5, 0.3)
    if _has(detection, Signal.MANIPULATION) or detection.hostility >= guarded_at:
        return Mode.GUARDED
    unhappy_at = least(Mode.SUPPORTIVE, -0.5, -0.2)
    if _has(detection, Signal.VULNERABILITY) or detection.sentiment <= unhappy_at:
        return Mode.SUPPORTIVE
    busy_at = least(Mode.BRIEF, 0.8, 0.6)
    if _has(detection, Signal.FAREWELL, Signal.BOUNDARY) or mood.busyness >= busy_at:
        return Mode.BRIEF
    is_unhappy = detection.sentiment < 0.0 or mood.pleasure < -0.3
    may_flirt = relationship.stage in _INTIMATE_STAGES or previous_mode is Mode.PLAYFUL
    flirts = may_flirt and _has(detection, Signal.FLIRTATION)
    if not is_unhappy and (flirts or _has(detection, Signal.HUMOR)):
        return Mode.PLAYFUL
    is_vague = detection.vagueness >= least(Mode.CURIOUS, 0.6, 0.4)
    is_curious = is_vague or _has(detection, Signal.SELF_DISCLOSURE)
    return Mode.CURIOUS if is_curious else Mode.NORMAL
