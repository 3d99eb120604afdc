"""The rule score: how good a reply is by rules alone, without a call.

A weighted mean of five figures, each in [0, 1]: a length that suits the user's, a
sensible number of questions, no assistant's phrases, unlike its siblings, and not an
echo of the user. It ranks candidates for the judge; it does not know what is true,
kind or in character. The weights and bands are ours, set by hand.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lats.similarity import jaccard, ngrams

__all__ = [
    "FastScorer",
    "Language",
    "ReplyContext",
    "RuleScore",
    "assistant_phrases",
    "length_fit",
    "length_units",
    "question_balance",
]

Language = Literal["en", "zh"]


class ReplyContext(BaseModel):
    """The turn, as far as the rules read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_text: str
    """The user's message. Untrusted."""

    language: Language = "en"
    """Of the conversation; decides length bands, n-gram width and phrases."""


FastScorer = Callable[[str, Sequence[str]], float]
"""Reply, its siblings' replies -> rule score in [0, 1]. Equal arguments give equal scores."""

_UNIT = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")
_QUESTION = re.compile("[?？]+")

_PHRASES: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\bas an? (?:ai|assistant|language model)\b"
        r"|\bhow (?:can|may) i (?:help|assist)\b"
        r"|\bi(?:'m| am) here to (?:help|assist|listen)\b"
        r"|\b(?:feel free|don't hesitate) to (?:ask|reach out|let me know)\b"
        r"|\b(?:is there )?anything else (?:i can|you(?:'d| would) like)\b"
        r"|\bi(?:'d| would) be happy to (?:help|assist)\b"
        r"|\bi hope this helps\b"
        r"|\bhere (?:are|is) (?:some|a few|a list)\b"
        r"|\bit(?:'s| is) important to (?:note|remember)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(
        "作为(?:一个|一名|一款)?(?:ai|人工智能|智能助手|助手|语言模型)"
        "|(?:有什么|请问)(?:我)?(?:可以|能)(?:帮|为)"
        "|(?:为您|为你)(?:服务|解答)"
        "|(?:随时|欢迎)(?:向我|找我|来)?(?:提问|咨询)"
        "|希望(?:以上|这些|对你|对您)(?:有所)?(?:能)?(?:帮助|内容|建议|信息)"
        "|以下(?:是|为)(?:一些|几个|几点)"
        "|(?:需要|值得)注意的是|综上所述|总而言之",
        re.IGNORECASE,
    ),
}
_LAYOUT = re.compile(r"^[ \t]*(?:#{1,6}\s|[-*•]\s|\d{1,2}[.)、]\s?)|\*\*[^*\n]+\*\*", re.MULTILINE)


def length_units(text: str) -> int:
    """Return a text's length: Chinese characters plus words of other scripts."""
    return len(_UNIT.findall(text))


def length_fit(reply: str, context: ReplyContext) -> float:
    """Return 1 for a length that suits the user's, less the further it is outside.

    The comfortable band reaches from 3 units (4 in Chinese) to two and a half times
    the user's length, that bound itself being between 25 and 80 (40 and 140).
    """
    low, high_min, high_max = (4, 40, 140) if context.language == "zh" else (3, 25, 80)
    high = min(max(2.5 * length_units(context.user_text), high_min), high_max)
    units = length_units(reply)
    if units < low:
        return units / low
    return 1.0 if units <= high else high / units


def question_balance(reply: str) -> float:
    """Return 1 for one question, a little less for none, little for an interrogation."""
    questions = len(_QUESTION.findall(reply))
    return (0.9, 1.0, 0.6)[questions] if questions < 3 else 0.25


def assistant_phrases(reply: str, language: Language) -> int:
    """Return how many phrases and pieces of list layout sound like an assistant.

    English phrases count in a Chinese conversation too, where they are odder still.
    """
    text = reply.replace("\u2019", "'")
    count = len(_PHRASES["en"].findall(text)) + (1 if _LAYOUT.search(text) else 0)
    return count + (len(_PHRASES["zh"].findall(text)) if language == "zh" else 0)


class RuleScore:
    """The rule score of one search's replies: a reply and its siblings -> a figure in [0, 1].

    It keeps what it computed of each reply, so a search owns one and drops it with itself. The
    same arguments give the same figure on any machine.
    """

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._width = 2 if context.language == "zh" else 3
        self._user_grams = ngrams(context.user_text, self._width)
        self._known: dict[str, tuple[float, float, frozenset[str]]] = {}

    def __call__(self, reply: str, siblings: Sequence[str] = ()) -> float:
        """Return the score of a reply; the order of its siblings does not matter."""
        own, echo, grams = self._of(reply)
        novelty = 1 - max((jaccard(grams, self._of(other)[2]) for other in siblings), default=0)
        return own + 0.15 * novelty + 0.15 * (1 - echo)

    def _of(self, reply: str) -> tuple[float, float, frozenset[str]]:
        """Return the figures of a reply by itself, weighted; its echo of the user; its n-grams."""
        if reply not in self._known:
            phrases = assistant_phrases(reply, self._context.language)
            naturalness = (1.0, 0.4, 0.1, 0.0)[min(phrases, 3)]
            own = 0.25 * length_fit(reply, self._context) + 0.15 * question_balance(reply)
            grams = ngrams(reply, self._width)
            echo = jaccard(grams, self._user_grams)
            self._known[reply] = (own + 0.30 * naturalness, echo, grams)
        return self._known[reply]
