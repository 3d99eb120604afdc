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

from typing import NamedTuple

from nodes.records import Detection, Monologue, Mood, Relationship, Signal

__all__ = ["MAX_STEP", "update_mood"]

DECAY = 0.8
"""How much of the distance to rest is left after one turn."""

PULL = 0.5
"""How much of the way to its target a mood goes in one turn, before the cap."""

MAX_STEP = 0.3
"""Largest change of one dimension in one turn."""

REST_BUSYNESS = 0.2


class _Feeling(NamedTuple):
    """The place of a feeling, and the words that name it in either language."""

    pleasure: float
    arousal: float
    dominance: float
    words: tuple[str, ...]


# More specific words first: the first feeling with a word in the text is taken.
# fmt: off
_FEELINGS: tuple[_Feeling, ...] = (
    _Feeling(-0.5, 0.6, 0.3, ("angry", "annoyed", "irritat", "furious", "生气", "恼火", "愤怒")),
    _Feeling(-0.6, 0.6, -0.5, ("afraid", "anxious", "nervous", "worried", "害怕", "担心", "紧张")),
    _Feeling(-0.6, 0.1, -0.4, ("hurt", "offended", "insulted", "受伤", "委屈", "难堪")),
    _Feeling(-0.6, -0.3, -0.3,
             ("sad", "unhappy", "lonely", "disappoint", "难过", "伤心", "不开心", "失落")),
    _Feeling(-0.3, -0.4, -0.1, ("bored", "tired", "weary", "无聊", "疲惫", "累")),
    _Feeling(0.1, 0.3, -0.4, ("embarrass", "shy", "flustered", "害羞", "尴尬", "不好意思")),
    _Feeling(0.7, 0.6, 0.3, ("excited", "delighted", "thrilled", "激动", "兴奋", "惊喜")),
    _Feeling(0.6, 0.2, 0.3, ("happy", "glad", "amused", "pleased", "开心", "高兴", "快乐")),
    _Feeling(0.5, 0.1, 0.1, ("touched", "fond", "warm", "grateful", "感动", "温暖", "感激")),
    _Feeling(0.3, 0.4, 0.2, ("curious", "intrigued", "interested", "好奇", "感兴趣")),
    _Feeling(0.1, 0.2, -0.3, ("confused", "puzzled", "unsure", "困惑", "疑惑", "不确定")),
    _Feeling(0.3, -0.4, 0.2, ("calm", "relaxed", "content", "at ease", "平静", "放松", "安心")),
)
# fmt: on


def _felt(feeling: str) -> tuple[float, float, float]:
    """Return the place of the feeling that a text names; the origin when it names none."""
    lowered = feeling.casefold()
    named = (known for known in _FEELINGS if any(word in lowered for word in known.words))
    return next(named, _Feeling(0.0, 0.0, 0.0, ()))[:3]


def _moved(before: float, rest: float, drawn_to: float) -> float:
    settled = rest + (before - rest) * DECAY
    wanted = settled + PULL * (max(-1.0, min(1.0, drawn_to)) - settled)
    step = max(-MAX_STEP, min(MAX_STEP, wanted - before))
    return round(before + step, 4)


def update_mood(
    mood: Mood, detection: Detection, monologue: Monologue, relationship: Relationship
) -> Mood:
    """Return the mood after reading the user's message and thinking about it.

    Args:
        mood: the mood before.
        monologue: its `feeling` names the place that the mood is drawn to.
    """
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
