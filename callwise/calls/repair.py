"""Repair calls: the same question again, with the problem of the answer that did not fit.

A repair repeats the original messages (a provider's prompt cache serves them), quotes a
short part of the wrong answer and names the problem in the language of the prompt. It also
changes what made the answer fail: one that was cut off may be longer and is asked to be
shorter, one without an object gets the keys. Its text and seed differ from the
question's, so no cache on the way returns the same answer. The temperature stays.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from callwise.calls.call import Call, Message, Sampling
from callwise.calls.errors import InvalidAnswer
from callwise.calls.schema import response_schema

__all__ = ["MAX_REPAIR_TOKENS", "repair_call"]

MAX_REPAIR_TOKENS = 8192
"""Up to this many output tokens a repair of a cut answer may raise the limit."""

CUT_FACTOR = 1.5
"""By how much the limit grows where an answer was cut off."""

NOTHING_FACTOR = 2.0
"""By how much it grows where nothing was left of it, as when thoughts took all of it."""

MAX_NAMED_PROBLEMS = 6
"""Most problems that a repair names."""

_Language = Literal["en", "zh"]

_TEXTS: Mapping[_Language, Mapping[str, str]] = {
    "en": {
        "cut": "That answer was cut off before its end because it was too long. Answer the same "
        "request again and keep it shorter: fewer entries, shorter texts.",
        "no_object": "That answer holds no JSON object that can be read. Answer the same request "
        "again.",
        "depth": "That answer is nested too deeply. Answer the same request again.",
        "misfit": "That answer cannot be used: {problems}. Answer the same request again.",
        "form": "Write one valid JSON object with the keys {keys}, and nothing else.",
        "join": "; ",
        "more": "and {count} more",
        "comma": ", ",
    },
    "zh": {
        "cut": "上面的回答太长，没写完就被截断了。请就同一请求重新回答，写短一些："
        "条目更少，文字更短。",
        "no_object": "上面的回答里没有可以读取的 JSON 对象。请就同一请求重新回答。",
        "depth": "上面的回答嵌套太深。请就同一请求重新回答。",
        "misfit": "上面的回答不能使用：{problems}。请就同一请求重新回答。",
        "form": "只写一个合法的 JSON 对象，包含键 {keys}，不要写别的。",
        "join": "；",
        "more": "另有 {count} 处",
        "comma": "、",
    },
}

_PROBLEMS: Mapping[_Language, Mapping[str, str]] = {
    "en": {
        "missing": "{place} is missing",
        "text": "{place} must be a text",
        "number": "{place} must be a number {detail}",
        "list": "{place} must be a list",
        "object": "{place} must be an object",
        "boolean": "{place} must be true or false",
        "choice": "{place} must be one of {detail}",
        "empty": "{place} must not be empty",
        "form": "{place} is not as asked for: {detail}",
    },
    "zh": {
        "missing": "缺少 {place}",
        "text": "{place} 必须是文字",
        "number": "{place} 必须是数字 {detail}",
        "list": "{place} 必须是列表",
        "object": "{place} 必须是对象",
        "boolean": "{place} 必须是 true 或 false",
        "choice": "{place} 必须是以下之一：{detail}",
        "empty": "{place} 不能为空",
        "form": "{place} 不符合要求",
    },
}

_WHOLE: Mapping[_Language, str] = {"en": "the answer", "zh": "回答"}


def repair_call(call: Call, invalid: InvalidAnswer) -> Call:
    """Return the call that asks for the same answer again; its `repair` index is one higher."""
    messages = (
        *call.messages,
        # Templates want a message of the assistant between two of the user.
        Message("assistant", invalid.excerpt.strip() or "…"),
        Message("user", _request(call, invalid, _language_of(call))),
    )
    sampling = _sampling(call.sampling, invalid)
    return replace(call, messages=messages, sampling=sampling, repair=call.repair + 1)


def _sampling(sampling: Sampling, invalid: InvalidAnswer) -> Sampling:
    if sampling.seed is not None:
        sampling = replace(sampling, seed=sampling.seed + 1)
    limit = sampling.max_tokens
    if not invalid.is_cut or limit is None:
        return sampling
    factor = CUT_FACTOR if invalid.excerpt.strip() else NOTHING_FACTOR
    raised = min(math.ceil(limit * factor), max(limit, MAX_REPAIR_TOKENS))
    return replace(sampling, max_tokens=raised)


def _language_of(call: Call) -> _Language:
    """Return the language of a prompt, by the script of its instructions."""
    text = next((each.content for each in call.messages if each.role == "system"), "")
    text = text or call.messages[-1].content
    han = sum("\u4e00" <= mark <= "\u9fff" for mark in text)
    return "zh" if han * 4 > len(text) else "en"


def _request(call: Call, invalid: InvalidAnswer, language: _Language) -> str:
    texts = _TEXTS[language]
    kind = invalid.misfits[0][0] if invalid.misfits else "misfit"
    if invalid.is_cut:
        text = texts["cut"]
    elif kind in {"no_object", "depth"}:
        text = texts[kind]
    else:
        text = texts["misfit"].format(problems=_problems(invalid, language))
    schema = {} if call.response_model is None else response_schema(call.response_model)
    keys = texts["comma"].join(f"`{name}`" for name in schema.get("properties", {}))
    space = " " if language == "en" else ""
    return f"{text}{space}{texts['form'].format(keys=keys)}"


def _problems(invalid: InvalidAnswer, language: _Language) -> str:
    texts = _TEXTS[language]
    named = [
        _PROBLEMS[language][kind]
        .format(place=f"`{place}`" if place else _WHOLE[language], detail=detail)
        .strip()
        for kind, place, detail in invalid.misfits[:MAX_NAMED_PROBLEMS]
    ]
    left = len(invalid.misfits) - len(named)
    if left:
        named.append(texts["more"].format(count=left))
    return texts["join"].join(named) or invalid.problem
