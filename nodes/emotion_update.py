"""Update of the agent's mood in one turn: pleasure, arousal, dominance, busyness.

One turn is three steps, for each dimension alone:

1. decay: `rest + (mood - rest) * DECAY`, where the resting point
   rises with liking (pleasure) and with who leads (dominance);
2. pull: half of the way to what the user's affect and the agent's own feeling ask
   for; the closer the two are, the more the user's affect is shared;
3. cap: no more than `MAX_STEP` away from where it was.

Source: the three dimensions are those of A. Mehrabian, Pleasure-arousal-dominance:
a general framework (1996). The places of the feelings are rounded readings of his
octants (exuberant, docile, hostile, ...); the rates are ours.
"""

from nodes.prompt import words
from nodes.records import Detection, Monologue, Mood, Relationship, Signal

__all__ = ["MAX_STEP", "update_mood"]

DECAY = 0.8
"""Part of the distance to rest that is left after one turn."""

PULL = 0.5
"""Part of the way to its target that a mood goes in one turn, before the cap."""

MAX_STEP = 0.3
"""Largest change of one dimension in one turn."""

REST_BUSYNESS = 0.2


def _felt(feeling: str) -> tuple[float, float, float]:
    """Return the place of the feeling that a text names; the origin when it names none."""
    lowered = feeling.casefold()
    known = words("feelings")
    for pleasure, arousal, dominance, *names in known:
        if any(map(lowered.count, names)):
            return pleasure, arousal, dominance
    return 0.0, 0.0, 0.0


def _moved(before: float, rest: float, drawn_to: float) -> float:
    settled = rest + (before - rest) * DECAY
    wanted = settled + PULL * (max(-1.0, min(1.0, drawn_to)) - settled)
    step = max(-MAX_STEP, min(MAX_STEP, wanted - before))
    return round(before + step, 4)


def update_mood(
    mood: Mood, detection: Detection, monologue: Monologue, relationship: Relationship
) -> Mood:
    """Return the mood after the user's message; the monologue's `feeling` draws it to a place."""
    shared = 0.4 + 0.4 * relationship.closeness
    hostility = detection.hostility
    pleasure, arousal, dominance = _felt(monologue.feeling)
    # Strangers rest at exactly 0: 0.4 is a stranger's liking.
    rest_pleasure = 0.5 * (relationship.liking - 0.4)
    rest_dominance = 0.3 * relationship.power
    urgency = 0.5 if Signal.URGENCY in detection.signals else 0.0
    leaving = 0.3 if Signal.FAREWELL in detection.signals else 0.0
    # The resting point of each dimension, and where this turn draws it.
    pulls = {
        "pleasure": (
            rest_pleasure,
            rest_pleasure + shared * detection.sentiment + pleasure - 0.8 * hostility,
        ),
        "arousal": (0.0, shared * detection.arousal + arousal + 0.5 * hostility),
        "dominance": (rest_dominance, rest_dominance + dominance - 0.3 * hostility),
        "busyness": (REST_BUSYNESS, REST_BUSYNESS + urgency + leaving),
    }
    return Mood(
        **{
            name: _moved(getattr(mood, name), rest, drawn_to)
            for name, (rest, drawn_to) in pulls.items()
        }
    )
