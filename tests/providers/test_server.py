"""The server's own promises: without them a behaviour that passes would prove nothing."""

import json
from typing import Any

import pytest

from callwise.simulator.request import asked_schema, read_material
from tests.providers.server import _canonical

INSTRUCTIONS = "Judge this.\n\nBe {brief}."

MATERIAL = '{"language":"en","user_text":"I said {it} and\\n{left}."}'


def _body(mode: str, *, merged: bool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"reason": {"type": "string"}, "score": {}}}
    instructions = INSTRUCTIONS
    body: dict[str, Any] = {"model": "m"}
    if mode == "json_schema":
        form = {"name": "Verdict", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    else:
        instructions += f"\n\nIt must be valid against this JSON schema:\n{json.dumps(schema)}"
        if mode == "json_object":
            body["response_format"] = {"type": "json_object"}
    if merged:
        text = f"{instructions}\n\n{MATERIAL}"
        return {**body, "messages": [{"role": "user", "content": text}]}
    system = {"role": "system", "content": instructions}
    return {**body, "messages": [system, {"role": "user", "content": MATERIAL}]}


@pytest.mark.parametrize("merged", [False, True], ids=["system message", "merged"])
@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
def test_a_question_is_the_same_however_it_is_asked(mode: str, merged: bool) -> None:
    """By schema, JSON mode or words, with a system message or without."""
    canonical, schema = _canonical(_body(mode, merged=merged))
    assert [message["role"] for message in canonical["messages"]] == ["system", "user"]
    assert canonical["messages"][0]["content"] == INSTRUCTIONS
    assert read_material(canonical).user_text == "I said {it} and\n{left}."
    assert set((schema or {})["properties"]) == {"reason", "score"}
    assert set((asked_schema(canonical) or {})["properties"]) == {"reason", "score"}
