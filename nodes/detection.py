"""Detection of what the user's message carries: signals, mood, hostility. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | detect | 0 | 400 |

The rules read word lists (`words/detection.yaml`), marks and length. Both languages' lists are
read for every message, because chat mixes them. The scores are coarse on purpose: a rule that
finds a word does not find what was meant by it.

- sentiment: `(pleasant - unpleasant) / (pleasant + unpleasant + 1)` over the words found, a
  negated word counting for the other side; hostility lowers it to at most `-hostility`.
- arousal: up with exclamation marks, capitals, urgency, hostility and strong feelings, down
  with tired words.
- hostility: .6 for one attack on the agent, .15 more for each further one, at most .95; .25 for
  criticism alone.
- vagueness: from how much there is to answer, see `_vagueness`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from callwise.calls import Purpose, Role, Sampling
from nodes.prompt import MAX_CHARS, clip, words
from nodes.question import AnswerForm, Question, SignedScore, Text, Tokens, UnitScore, each_once
from nodes.records import Detection, Language, Signal, Stage

__all__ = ["DETECTION", "DetectionAnswer", "detect_by_rules"]


def _compiled(listed: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """Return a pattern for any of the words, in any letter case; English ones are whole."""
    if "pattern" in listed:
        return re.compile("|".join(listed["pattern"]), re.IGNORECASE)
    english, chinese = "|".join(listed["en"]), "|".join(listed["zh"])
    return re.compile(rf"(?<![A-Za-z])(?:{english})(?![A-Za-z])|{chinese}", re.IGNORECASE)


def _filler(listed: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """Return a pattern for a text of nothing but these words and marks.

    Every quantifier is possessive: `嗯嗯嗯…` must not be tried in every partition.
    """
    latin, han = ("|".join(sorted(listed[each], key=len, reverse=True)) for each in ("en", "zh"))
    return re.compile(rf"\W*+(?:(?>(?:{latin})(?![A-Za-z])|{han})\W*+)++", re.IGNORECASE)


_WORDS = words("detection")
PLEASANT, UNPLEASANT = _compiled(_WORDS["pleasant"]), _compiled(_WORDS["unpleasant"])
NEGATION, TIRED = _compiled(_WORDS["negation"]), _compiled(_WORDS["tired"])
ATTACK, FILLER = _compiled(_WORDS["attack"]), _filler(_WORDS["filler"])
SIGNAL_PATTERNS = {Signal(name): _compiled(listed) for name, listed in _WORDS["signals"].items()}
SIGNAL_PATTERNS[Signal.HOSTILITY] = ATTACK
STAGE_PATTERNS = {Stage(name): _compiled(listed) for name, listed in _WORDS["stages"].items()}

_HAN_OR_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+")
_SHOUTED = re.compile(r"\b[A-Z]{3,}\b")

NEGATION_REACH_CHARS = 12
"""Distance before a feeling at which a negation still reverses it, in characters."""

_STRONG = frozenset({Signal.VULNERABILITY, Signal.FLIRTATION, Signal.MANIPULATION})


def _feelings(text: str) -> tuple[int, int]:
    """Return how many pleasant and unpleasant feelings a text names, negations reversed."""
    pleasant = unpleasant = 0
    for pattern, is_pleasant in ((PLEASANT, True), (UNPLEASANT, False)):
        for found in pattern.finditer(text):
            before = text[max(found.start() - NEGATION_REACH_CHARS, 0) : found.start()]
            is_turned = NEGATION.search(before) is not None
            if is_pleasant is not is_turned:
                pleasant += 1
            else:
                unpleasant += 1
    return pleasant, unpleasant


def _hostility(text: str, signals: set[Signal]) -> float:
    attacks = sum(1 for _ in ATTACK.finditer(text))
    if attacks:
        return min(0.45 + 0.15 * attacks, 0.95)
    return 0.25 if Signal.CRITICISM in signals else 0.0


def _vagueness(text: str, *, is_clear: bool) -> float:
    """Return how little there is to answer.

    A message of filler words only .9; without any word .8. Otherwise 1 minus an eighth
    for each word or Han character, at least .1; halved when the message is clear in
    itself: it carries a signal (a question, a greeting, a thank-you) or names a feeling.
    """
    units = len(_HAN_OR_WORD.findall(text))
    if FILLER.fullmatch(text):
        return 0.9
    if units == 0:
        return 0.8
    vagueness = max(1.0 - units / 8.0, 0.1)
    return vagueness / 2.0 if is_clear else vagueness


def _arousal(text: str, signals: set[Signal], hostility: float) -> float:
    arousal = 0.15 * min(text.count("!") + text.count("！"), 3)
    arousal += 0.2 if _SHOUTED.search(text) else 0.0
    arousal += 0.3 if Signal.URGENCY in signals else 0.0
    arousal += 0.2 if signals & _STRONG else 0.0
    arousal += 0.4 * hostility
    arousal -= 0.4 if TIRED.search(text) else 0.0
    return max(-1.0, min(1.0, arousal))


def _context(signals: tuple[Signal, ...], language: Language) -> str:
    known = words("rules")["detection"][language]
    phrases = [known[signal] for signal in signals]
    if language == "zh":
        return f"对方{'、'.join(phrases) or '说了一句话'}。"
    phrases = phrases or ["says something"]
    listed = " and ".join([", ".join(phrases[:-1]), phrases[-1]] if phrases[1:] else phrases)
    return f"The user {listed}."


def detect_by_rules(user_text: str, language: Language) -> Detection:
    """Return what follows from a message's words, marks and length.

    Only as much of it is read as a prompt would show.
    """
    text = clip(user_text, MAX_CHARS["user_text"]).strip()
    signals = {signal for signal, pattern in SIGNAL_PATTERNS.items() if pattern.search(text)}
    hostility = _hostility(text, signals)
    if hostility >= 0.5:
        signals.add(Signal.HOSTILITY)
    pleasant, unpleasant = _feelings(text)
    vagueness = _vagueness(text, is_clear=bool(signals) or pleasant + unpleasant > 0)
    if vagueness >= 0.6:
        signals.add(Signal.VAGUENESS)
    sentiment = (pleasant - unpleasant) / (pleasant + unpleasant + 1)
    if hostility >= 0.5:
        sentiment = min(sentiment, -hostility)
    ordered = tuple(signal for signal in Signal if signal in signals)
    stages = (stage for stage, pattern in STAGE_PATTERNS.items() if pattern.search(text))
    return Detection(
        context=_context(ordered, language),
        signals=ordered,
        sentiment=round(sentiment, 4),
        arousal=round(_arousal(text, signals, hostility), 4),
        hostility=round(hostility, 4),
        vagueness=round(vagueness, 4),
        stage_hint=next(stages, None),
    )


class DetectionAnswer(AnswerForm):
    """The model's answer. `signals`, `sentiment` and `hostility` are required."""

    context: Text = ""
    signals: Annotated[list[Signal], Field(max_length=len(Signal)), AfterValidator(each_once)]
    sentiment: SignedScore
    arousal: SignedScore = 0.0
    hostility: UnitScore
    vagueness: UnitScore = 0.0
    stage_hint: Stage | None = None

    def record(self) -> Detection:
        """Return the answer as the record that the other nodes read."""
        return Detection(**dict(self) | {"signals": tuple(self.signals)})


DETECTION = Question(
    node="detection",
    role=Role.FAST,
    purpose=Purpose.DETECT,
    prompt="detection",
    answer=DetectionAnswer,
    fields=("persona", "chat", "summary", "stage", "relationship"),
    sampling=Sampling(temperature=0.0, max_tokens=400),
    tokens=Tokens(1050, 100),
    convert=lambda answer, _view: answer.record(),
    fallback=lambda view: detect_by_rules(view.user_text, view.language),
)
