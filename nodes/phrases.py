"""The numbers of the state as short phrases, for prompts: only what is out of the ordinary.

A model knows what "rather formal, few jokes" asks of it, and guesses at .6323. Each scale
has a phrase for its four outer ranges and none for its middle, so that what is ordinary
takes no tokens, and a number that moves a little leaves the prompt as it is.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydantic import BaseModel

from nodes.records import Detection, Language, Mood, Relationship, StyleVector

__all__ = ["detection_shown", "mood_phrase", "relationship_phrase", "style_phrase"]

Phrases = tuple[str, str, str, str]
"""For the lowest range of a scale, the low one, the high one and the highest; "" for none."""

_UNIT_BOUNDS = (0.15, 0.35, 0.65, 0.85)
_SIGNED_BOUNDS = (-0.6, -0.25, 0.25, 0.6)
"""Where the ranges end: the outer two and the middle between them, which has no phrase."""

_SIGNED = frozenset({"pleasure", "arousal", "dominance", "power", "sentiment"})
"""Scales from -1 to 1; the others are from 0 to 1."""

# fmt: off
_STYLE: Mapping[Language, Mapping[str, Phrases]] = MappingProxyType({
    "en": {
        "formality": ("very casual", "rather casual", "rather formal", "very formal"),
        "warmth": ("cold", "rather cool", "rather warm", "very warm"),
        "directness": ("very indirect", "rather indirect", "rather direct", "very direct"),
        "verbosity": ("very brief", "rather brief", "rather talkative", "very talkative"),
        "humor": ("no jokes", "few jokes", "some jokes", "many jokes"),
        "expressiveness": (
            "very restrained", "rather restrained", "rather expressive", "very expressive"),
        "curiosity": ("asks nothing", "asks little", "rather curious", "very curious"),
        "self_disclosure": (
            "nothing about oneself", "little about oneself", "open about oneself",
            "very open about oneself"),
        "playfulness": ("not playful", "hardly playful", "rather playful", "very playful"),
        "politeness": ("blunt", "rather blunt", "rather polite", "very polite"),
        "assertiveness": ("very yielding", "rather yielding", "rather firm", "very firm"),
        "patience": ("very impatient", "rather impatient", "rather patient", "very patient"),
    },
    "zh": {
        "formality": ("很随意", "比较随意", "比较正式", "很正式"),
        "warmth": ("冷淡", "有点冷", "比较热情", "很热情"),
        "directness": ("很委婉", "比较委婉", "比较直接", "很直接"),
        "verbosity": ("话很少", "话比较少", "话比较多", "话很多"),
        "humor": ("不开玩笑", "很少开玩笑", "偶尔开玩笑", "常开玩笑"),
        "expressiveness": ("很克制", "比较克制", "情绪比较外露", "情绪很外露"),
        "curiosity": ("不追问", "很少追问", "比较好奇", "很好奇"),
        "self_disclosure": ("不谈自己", "很少谈自己", "愿意谈自己", "很愿意谈自己"),
        "playfulness": ("不逗趣", "不大逗趣", "比较逗趣", "很逗趣"),
        "politeness": ("不客气", "不太客气", "比较客气", "很客气"),
        "assertiveness": ("很顺从", "比较顺从", "比较坚决", "很坚决"),
        "patience": ("很不耐烦", "不太耐烦", "比较耐心", "很耐心"),
    },
})

_RELATIONSHIP: Mapping[Language, Mapping[str, Phrases]] = MappingProxyType({
    "en": {
        "closeness": ("not close", "not very close", "close", "very close"),
        "trust": ("no trust", "little trust", "much trust", "complete trust"),
        "liking": ("dislikes the user", "likes the user little", "likes the user",
                   "likes the user very much"),
        "respect": ("no respect", "little respect", "much respect", "great respect"),
        "warmth": ("cold", "cool", "warm", "very warm"),
        "power": ("the user leads", "the user leads a little", "the agent leads a little",
                  "the agent leads"),
    },
    "zh": {
        "closeness": ("不亲近", "不大亲近", "亲近", "很亲近"),
        "trust": ("不信任", "不大信任", "信任", "非常信任"),
        "liking": ("不喜欢用户", "不大喜欢用户", "喜欢用户", "很喜欢用户"),
        "respect": ("不尊重", "不大尊重", "尊重", "很尊重"),
        "warmth": ("冷淡", "偏冷", "温暖", "很温暖"),
        "power": ("用户主导", "用户略占主导", "角色略占主导", "角色主导"),
    },
})

_MOOD: Mapping[Language, Mapping[str, Phrases]] = MappingProxyType({
    "en": {
        "pleasure": ("miserable", "displeased", "pleased", "delighted"),
        "arousal": ("drowsy", "calm", "stirred", "agitated"),
        "dominance": ("overwhelmed", "unsure", "self-assured", "in command"),
        "busyness": ("", "", "busy", "very busy"),
    },
    "zh": {
        "pleasure": ("很难受", "不快", "愉快", "非常高兴"),
        "arousal": ("困倦", "平静", "有些激动", "很激动"),
        "dominance": ("不知所措", "没底", "有把握", "掌控局面"),
        "busyness": ("", "", "忙", "很忙"),
    },
})

_USER_STATE: Mapping[Language, Mapping[str, Phrases]] = MappingProxyType({
    "en": {
        "sentiment": ("miserable or furious", "unhappy", "pleased", "delighted"),
        "arousal": ("drowsy", "calm", "stirred", "agitated"),
        "hostility": ("", "", "attacks the agent", "attacks the agent fiercely"),
        "vagueness": ("", "", "vague", "very vague"),
    },
    "zh": {
        "sentiment": ("极度痛苦或愤怒", "不开心", "开心", "非常高兴"),
        "arousal": ("昏昏欲睡", "平静", "有些激动", "很激动"),
        "hostility": ("", "", "在攻击角色", "猛烈攻击角色"),
        "vagueness": ("", "", "含糊", "很含糊"),
    },
})
# fmt: on

_JOINTS: Mapping[Language, str] = MappingProxyType({"en": ", ", "zh": "、"})


def _phrase(name: str, value: float, phrases: Phrases) -> str:
    bounds = _SIGNED_BOUNDS if name in _SIGNED else _UNIT_BOUNDS
    lowest, low, high, highest = bounds
    if low <= value <= high:
        return ""
    if value < low:
        return phrases[0] if value < lowest else phrases[1]
    return phrases[3] if value > highest else phrases[2]


def _joined(record: BaseModel, scales: Mapping[str, Phrases], language: Language) -> str:
    def found() -> Iterator[str]:
        for name, phrases in scales.items():
            phrase = _phrase(name, getattr(record, name), phrases)
            if phrase:
                yield phrase

    return _JOINTS[language].join(found())


def style_phrase(style: StyleVector, language: Language) -> str:
    """Return how the agent sounds; empty when all is middling."""
    return _joined(style, _STYLE[language], language)


def relationship_phrase(relationship: Relationship, language: Language) -> str:
    """Return how the agent stands to the user, without the stage; empty when all is middling."""
    return _joined(relationship, _RELATIONSHIP[language], language)


def mood_phrase(mood: Mood, language: Language) -> str:
    """Return the agent's mood; empty when it is neutral."""
    return _joined(mood, _MOOD[language], language)


def detection_shown(detection: Detection, language: Language) -> dict[str, object]:
    """Return what was found in the user's message, as a prompt shows it.

    `stage_hint` is left out: only the stage manager uses it.
    """
    user = _joined(detection, _USER_STATE[language], language)
    fields = {"context": detection.context, "signals": detection.signals, "user": user}
    return {name: value for name, value in fields.items() if value}
