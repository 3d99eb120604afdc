"""Answers whose text is of odd form: the second table's lines on JSON, numbers and thoughts."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.providers.behaviour import (
    Behaviour,
    asked_no_more_tokens,
    content,
    is_judge,
    message,
    odd_document,
    odd_text,
    read,
    reply,
    scripted_for_each_server,
    survives,
    wants_candidates,
)
from tests.providers.server import Asked, Sent

__all__ = ["DRAFT", "TEXTS", "cut_in_item", "draft_of"]

DRAFT = "DRAFT, not meant for the user."


# Thoughts before the answer, with a draft in them.


def draft_of(text: str) -> str:
    """Return a draft of an answer: of its form, with other replies."""

    def drafted(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: drafted(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [drafted(item, key) for item in node]
        return DRAFT if key in {"reply", "bubbles", "text"} and isinstance(node, str) else node

    return json.dumps(drafted(json.loads(text)), ensure_ascii=False)


THOUGHTS = 'Okay, the user {it} lost a job. I could answer {"reply": ...} like this: '

NO_DRAFT = reply(never=(DRAFT,))

_THINKING = [
    read(f"thoughts: {name}", odd_text(change), expected=NO_DRAFT, source=source)
    for name, source, change in [
        (
            "think tags with a draft",
            "DeepSeek R1, Qwen",
            lambda text: f"<think>\n{THOUGHTS}{draft_of(text)}\n</think>\n\n{text}",
        ),
        (
            "thinking tags with a draft in a fence",
            "several",
            lambda text: f"<thinking>```json\n{draft_of(text)}\n```</thinking>{text}",
        ),
        (
            "a closing tag alone",
            "templates that open the thoughts",
            lambda text: f"{THOUGHTS}{draft_of(text)}\n</think>\n{text}",
        ),
        ("empty think tags", "Qwen", lambda text: f"<think>\n\n</think>\n\n{text}"),
        (
            "two thoughts",
            "several",
            lambda text: f"<think>{draft_of(text)}</think><think>better</think>{text}",
        ),
        (
            "an opening tag that is never closed",
            "several",
            lambda text: f"<think>\nThe form asks for JSON, so here it is.\n{text}",
        ),
    ]
]


# JSON that is nearly JSON.


def _written(
    node: Any,
    *,
    text: Callable[[str], str] = lambda value: json.dumps(value, ensure_ascii=False),
    key: Callable[[str], str] = lambda value: json.dumps(value, ensure_ascii=False),
    comma: str = ", ",
    colon: str = ": ",
    trailing: str = "",
) -> str:
    """Return a document in a dialect of JSON."""

    def write(node: Any) -> str:
        if isinstance(node, dict):
            items = [f"{key(name)}{colon}{write(value)}" for name, value in node.items()]
            return "{" + comma.join(items) + (trailing if items else "") + "}"
        if isinstance(node, list):
            items = [write(item) for item in node]
            return "[" + comma.join(items) + (trailing if items else "") + "]"
        return text(node) if isinstance(node, str) else json.dumps(node)

    return write(node)


def _dialect(**more: Any) -> Callable[[str], str]:
    return lambda text: _written(json.loads(text), **more)


def _with_newlines(text: str) -> str:
    """Return the answer with a raw line break after each sentence of a text."""

    def broken(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: broken(value) for name, value in node.items()}
        if isinstance(node, list):
            return [broken(item) for item in node]
        return node.replace(". ", ".\n") if isinstance(node, str) else node

    return json.dumps(broken(json.loads(text)), ensure_ascii=False).replace("\\n", "\n")


def _with_comments(mark: str, end: str = "") -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = json.dumps(json.loads(text), ensure_ascii=False, indent=1).splitlines()
        lines[0] += f" {mark} the answer as asked{end}"
        lines[2] += f" {mark} so far{end}"
        return "\n".join(lines)

    return change


def _curly(value: str) -> str:
    """Return a text in typographic quotes, its own turned into single ones."""
    return "“" + value.replace("“", "‘").replace("”", "’").replace('"', "’") + "”"


def _single(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _wrapped(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({key: json.loads(text)}, ensure_ascii=False)


MENDED = reply(notes="repair|mend|json")

_NEARLY_JSON = [
    read(f"nearly JSON: {name}", odd_text(change), expected=expected, source="small models")
    for name, expected, change in [
        ("trailing commas", MENDED, _dialect(trailing=",")),
        ("raw line breaks in texts", reply(is_same=False), _with_newlines),
        ("comments of two slashes", MENDED, _with_comments("//")),
        ("comments in stars", MENDED, _with_comments("/*", " */")),
        ("comments of a hash", MENDED, _with_comments("#")),
        ("Python syntax", MENDED, lambda text: repr(json.loads(text))),
        ("Python syntax in a fence", MENDED, lambda text: f"```python\n{json.loads(text)!r}\n```"),
        (
            "typographic quotes",
            reply(is_same=False, notes="repair|mend|json"),
            _dialect(text=_curly, key=_curly),
        ),
        ("single quotes", MENDED, _dialect(text=_single, key=_single)),
        ("keys without quotes", MENDED, _dialect(key=str)),
        ("JSON in a string", reply(), json.dumps),
        ("wrapped in `answer`", reply(), _wrapped("answer")),
        ("wrapped in `response`", reply(), _wrapped("response")),
        ("wrapped in `output`", reply(), _wrapped("output")),
    ]
]


def _wrapped_in_its_name(asked: Asked, good: dict[str, Any]) -> Sent | None:
    """Some models repeat the schema's name as the outermost key."""
    asked_format = asked.body.get("response_format") or {}
    name = (asked_format.get("json_schema") or {}).get("name")
    if name is None:
        return None
    return odd_text(_wrapped(str(name)))(asked, good)


_NEARLY_JSON.append(read("wrapped in the schema's name", _wrapped_in_its_name, source="Mistral"))


# Answers that are cut, and answers with bad items among good ones.


def cut_in_item(text: str, index: int) -> str:
    """Return an answer cut in the middle of an item of its first list of objects."""
    document = json.loads(text)
    key = next(name for name, value in document.items() if isinstance(value, list))
    items = document[key]
    whole = {**document, key: items[:index]}
    beginning = json.dumps(whole, ensure_ascii=False)
    rest = json.dumps(items[index], ensure_ascii=False)
    return f"{beginning[: beginning.rindex(']')]}, {rest[: max(len(rest) // 3, 24)]}"


def _cut_judge(text: str) -> str:
    return cut_in_item(text, len(json.loads(text)["verdicts"]) - 1)


CUT_READ = reply(is_same=False)


def _cut_until_more(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = content(good)[:12]
    good["choices"][0]["finish_reason"] = "length"
    return Sent(good)


_CUT = [
    read(
        "cut in the third candidate",
        odd_text(lambda text: cut_in_item(text, 2), "length"),
        wants_candidates,
        expected=CUT_READ,
    ),
    read(
        "cut in the second candidate, finish_reason stop",
        odd_text(lambda text: cut_in_item(text, 1), "stop"),
        wants_candidates,
        expected=CUT_READ,
    ),
    read(
        "cut after a comma between candidates",
        odd_text(lambda text: cut_in_item(text, 3).rpartition("{")[0], "length"),
        wants_candidates,
        expected=CUT_READ,
    ),
    read(
        "cut in the last verdict",
        odd_text(_cut_judge, "length"),
        is_judge,
        expected=CUT_READ,
    ),
    Behaviour(
        "cut early until more tokens are allowed, every call",
        "answers",
        scripted_for_each_server(_cut_until_more, asked_no_more_tokens),
        survives(calls=10, requests=10, repairs=5, min_unreadable=4, min_repairs=3),
        "several",
    ),
]


def _replace_candidate(bad: Any) -> Callable[[Any, Asked], Any]:
    def change(document: Any, _asked: Asked) -> Any:
        document["candidates"][0] = bad
        return document

    return change


def _each_candidate(change: Callable[[dict[str, Any]], None]) -> Callable[[Any, Asked], Any]:
    def changed(document: Any, _asked: Asked) -> Any:
        for candidate in document["candidates"]:
            change(candidate)
        return document

    return changed


def _one_candidate(change: Callable[[dict[str, Any]], None]) -> Callable[[Any, Asked], Any]:
    def changed(document: Any, _asked: Asked) -> Any:
        change(document["candidates"][0])
        return document

    return changed


def _delays_below_zero(candidate: dict[str, Any]) -> None:
    bubbles = [
        {"text": text, "delay_seconds": -0.5} for text in re.split(r"(?<=\.) ", candidate["reply"])
    ]
    candidate["bubbles"] = bubbles
    candidate["processor_plan"] = {"bubbles": bubbles}


_ITEMS = [
    read(
        f"one candidate is {name}",
        odd_document(_replace_candidate(bad)),
        wants_candidates,
        expected=reply(is_same=False),
        source="small models",
    )
    for name, bad in [
        ("null", None),
        ("a number", 3),
        ("blank", {"strategy_tag": "x", "reply": " ", "bubbles": None, "processor_plan": None}),
        ("without its reply", {"strategy_tag": "be_playful"}),
        ("a list", ["So it finally happened."]),
        ("with a list for a tag", {"strategy_tag": ["be"], "reply": "So it finally happened."}),
    ]
] + [
    read(name, odd_document(change), wants_candidates, source="small models")
    for name, change in [
        (
            "bubbles of one candidate as a text",
            _one_candidate(lambda each: each.update(bubbles=each["reply"])),
        ),
        (
            "bubbles of one candidate as a number",
            _one_candidate(lambda each: each.update(bubbles=2)),
        ),
        (
            "bubbles of every candidate as objects",
            _each_candidate(lambda each: each.update(bubbles=[{"text": each["reply"]}])),
        ),
        (
            "bubbles of every candidate by number",
            _each_candidate(lambda each: each.update(bubbles={"1": each["reply"]})),
        ),
        (
            "the plan of bubbles as a text",
            _each_candidate(lambda each: each.update(processor_plan="send it at once")),
        ),
        ("typing delays below zero", _each_candidate(_delays_below_zero)),
    ]
]


# Numbers.


def _numbers(change: Callable[[float], Any]) -> Callable[[Any, Asked], Any]:
    """Return what changes each score of an answer, all in [-1, 1]."""

    def changed(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: changed(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [changed(item, key) for item in node]
        is_score = isinstance(node, int | float) and not isinstance(node, bool)
        is_score = is_score and "delay" not in key and -1 <= node <= 1
        return change(node) if is_score else node

    return lambda document, _asked: changed(document)


def _with_numbers(asked: Asked) -> bool:
    """Return whether an answer has scores."""
    return not asked.wants_candidates


ON_A_SCALE = reply(notes=r"scale|10|100|%|per.?cent")


def _first_score(value: Any) -> Callable[[Any, Asked], Any]:
    def change(document: Any, _asked: Asked) -> Any:
        document["verdicts"][0]["score"] = value
        return document

    return change


_NUMBERS = [
    read(f"numbers: {name}", odd_document(_numbers(change)), when, expected=expected)
    for name, when, expected, change in [
        ("as text, every call", _with_numbers, reply(), str),
        ("per cent as text, the judge's", is_judge, reply(), lambda x: f"{x * 100:g}%"),
        ("per cent as text, every call", _with_numbers, reply(), lambda x: f"{x * 100:g}%"),
        ("of ten as text, the judge's", is_judge, reply(), lambda x: f"{x * 10:g}/10"),
        ("out of ten in words, the judge's", is_judge, reply(), lambda x: f"{x * 10:g} out of 10"),
        ("0 to 10, the judge's", is_judge, ON_A_SCALE, lambda x: round(x * 10, 2)),
        (
            "0 to 10 in whole numbers, the judge's",
            is_judge,
            reply(is_same=False, notes=r"scale|10"),
            lambda x: round(x * 10),
        ),
        ("0 to 100, the judge's", is_judge, ON_A_SCALE, lambda x: round(x * 100)),
        (
            "0 to 10 as text, the judge's",
            is_judge,
            ON_A_SCALE,
            lambda x: f"{x * 10:g}",
        ),
    ]
] + [
    read(
        f"one score is {name}",
        odd_document(_first_score(value)),
        is_judge,
        expected=reply(is_same=False),
    )
    for name, value in [
        ("a little above 1", 1.05),
        ("below 0", -0.2),
        ("a word", "high"),
        ("an object", {"value": 0.7, "max": 1}),
        ("true", True),
    ]
]

_NUMBERS.append(
    read(
        "one score is NaN",
        odd_text(lambda text: re.sub(r'"score": ?[\d.]+', '"score": NaN', text, count=1)),
        is_judge,
        expected=reply(is_same=False),
    )
)


# Empty where the schema allows it.


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while True:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
        else:
            return schema


def _emptied_where_allowed(*names: str) -> Callable[[Any, Asked], Any]:
    """Return what empties lists and texts of these names, where the schema allows it."""

    def change(document: Any, asked: Asked) -> Any:
        root = asked.schema or {}

        def emptied(node: Any, schema: Mapping[str, Any], key: str) -> Any:
            schema = _resolved(schema, root)
            if isinstance(node, dict):
                forms = schema.get("properties") or {}
                return {
                    name: emptied(value, forms.get(name, {}), name) for name, value in node.items()
                }
            if isinstance(node, list):
                if key in names and not schema.get("minItems"):
                    return []
                return [emptied(item, schema.get("items") or {}, "") for item in node]
            may_be_empty = not schema.get("minLength") and "pattern" not in schema
            return "" if key in names and isinstance(node, str) and may_be_empty else node

        return emptied(document, root, "")

    return change


_EMPTY = [
    read(
        f"empty: {', '.join(names)}",
        odd_document(_emptied_where_allowed(*names)),
        expected=reply(is_same=False),
        source="several",
        shows=False,
    )
    for names in [
        ("goals",),
        ("goals", "must_mention", "avoid", "tone"),
        ("signals", "context"),
        ("feeling", "impulse"),
        ("goal", "strategy_tag"),
        ("notes",),
        ("thought",),
        ("reason",),
        ("summary",),
        ("bubbles",),
    ]
]


# Order, extra and missing keys, and what stands around the JSON.


def _reordered(document: Any, _asked: Asked) -> Any:
    def reordered(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: reordered(node[name]) for name in reversed(node)}
        return [reordered(item) for item in node] if isinstance(node, list) else node

    return reordered(document)


def _with_extra_keys(document: Any, _asked: Asked) -> Any:
    def more(node: Any) -> Any:
        if isinstance(node, dict):
            inner = {name: more(value) for name, value in node.items()}
            return {"confidence": 0.9, **inner, "explanation": {"why": ["it fits"]}}
        return [more(item) for item in node] if isinstance(node, list) else node

    return more(document)


def _without_nulls(document: Any, _asked: Asked) -> Any:
    def less(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                name: less(value)
                for name, value in node.items()
                if value is not None and name not in {"bubbles", "processor_plan", "stage_hint"}
            }
        return [less(item) for item in node] if isinstance(node, list) else node

    return less(document)


_AROUND = [
    read("keys in another order", odd_document(_reordered)),
    read("more keys than asked for", odd_document(_with_extra_keys)),
    read(
        "keys left out instead of null",
        odd_document(_without_nulls),
        expected=reply(is_same=False),
    ),
] + [
    read(f"around the JSON: {name}", odd_text(change))
    for name, change in [
        ("a fence", lambda text: f"```json\n{text}\n```"),
        ("a fence without a language", lambda text: f"```\n{text}\n```\n"),
        (
            "words before and after",
            lambda text: f"Sure! Here is the {{JSON}} you asked for:\n\n{text}\n\nI hope it helps.",
        ),
        ("a byte order mark", lambda text: f"\ufeff{text}"),
        ("twice the same", lambda text: f"{text}\n{text}"),
        ("twice the same without a break", lambda text: text + text),
        ("the word json", lambda text: f"json\n{text}"),
        ("white space", lambda text: f"\n\n   {text}\n\n\n"),
    ]
]


TEXTS = [*_THINKING, *_NEARLY_JSON, *_CUT, *_ITEMS, *_NUMBERS, *_EMPTY, *_AROUND]
"""One behaviour for each form, line by line of the table."""
