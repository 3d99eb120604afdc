"""How the agent takes this turn as a whole, by a decision table.

| mode | taken when (first row that holds) | kept from the last turn while |
|---|---|---|
| guarded | hostility >= .5, or an attempt to break the persona | hostility >= .3, no apology |
| supportive | the user shows vulnerability, or sentiment <= -.5 | sentiment <= -.2 |
| brief | the user leaves or draws a boundary, or busyness >= .8 | busyness >= .6 |
| playful | a joke, or a flirt in an intimate stage; nobody unhappy | the same in any stage |
| curious | vagueness >= .6, or the user tells of themself | vagueness >= .4 |
| normal | otherwise | |

Unhappy means the user's sentiment below 0 or the agent's pleasure below -.3.
Each mode is left later than it is entered, so that it does not flicker.
"""

from nodes.records import Detection, Mode, Mood, Relationship, Signal, Stage

__all__ = ["choose_mode"]

_INTIMATE_STAGES = frozenset({Stage.INTENSIFYING, Stage.INTEGRATING, Stage.BONDING})


def _has(detection: Detection, *signals: Signal) -> bool:
    return any(signal in detection.signals for signal in signals)


def _is_guarded(detection: Detection, previous: Mode | None) -> bool:
    if detection.hostility >= 0.5 or _has(detection, Signal.MANIPULATION):
        return True
    stays = previous is Mode.GUARDED and not _has(detection, Signal.APOLOGY)
    return stays and detection.hostility >= 0.3


def _is_supportive(detection: Detection, previous: Mode | None) -> bool:
    bound = -0.2 if previous is Mode.SUPPORTIVE else -0.5
    return _has(detection, Signal.VULNERABILITY) or detection.sentiment <= bound


def _is_brief(detection: Detection, mood: Mood, previous: Mode | None) -> bool:
    bound = 0.6 if previous is Mode.BRIEF else 0.8
    return _has(detection, Signal.FAREWELL, Signal.BOUNDARY) or mood.busyness >= bound


def _is_playful(detection: Detection, mood: Mood, stage: Stage, previous: Mode | None) -> bool:
    if detection.sentiment < 0.0 or mood.pleasure < -0.3:
        return False
    may_flirt = stage in _INTIMATE_STAGES or previous is Mode.PLAYFUL
    return _has(detection, Signal.HUMOR) or (may_flirt and _has(detection, Signal.FLIRTATION))


def _is_curious(detection: Detection, previous: Mode | None) -> bool:
    bound = 0.4 if previous is Mode.CURIOUS else 0.6
    return detection.vagueness >= bound or _has(detection, Signal.SELF_DISCLOSURE)


def choose_mode(
    detection: Detection,
    mood: Mood,
    relationship: Relationship,
    previous_mode: Mode | None = None,
) -> Mode:
    """Return the mode of this turn: the first row of the table that holds.

    Args:
        detection: what was found in the user's message.
        mood: the agent's mood before this turn.
        relationship: how the agent stands to the user.
        previous_mode: mode of the turn before; None on the first.
    """
    if _is_guarded(detection, previous_mode):
        return Mode.GUARDED
    if _is_supportive(detection, previous_mode):
        return Mode.SUPPORTIVE
    if _is_brief(detection, mood, previous_mode):
        return Mode.BRIEF
    if _is_playful(detection, mood, relationship.stage, previous_mode):
        return Mode.PLAYFUL
    return Mode.CURIOUS if _is_curious(detection, previous_mode) else Mode.NORMAL
