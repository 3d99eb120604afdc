"""The server's own promises: without them a behaviour that passes would prove nothing."""

from typing import Any

import pytest
from pydantic import BaseModel

from tests.providers.server import _canonical
from turnwise.calls import Call, Message, Purpose, Role
from turnwise.calls.simulated.material import asked_schema, read_material
from turnwise.calls.wire import chat_body

MATERIAL = '{"language":"en","user_text":"I said {it} and\\n{left}."}'


class Verdict(BaseModel):
    """An answer with a form."""

    reason: str
    score: float


def _body(mode: Any, *, merged: bool) -> dict[str, Any]:
    call = Call(
        role=Role.MAIN,
        purpose=Purpose.OTHER,
        messages=(Message("system", "Judge this.\n\nBe {brief}."), Message("user", MATERIAL)),
        response_model=Verdict,
    )
    body = chat_body(call, model="m", schema_mode=mode)
    if merged:
        text = "\n\n".join(message["content"] for message in body["messages"])
        body["messages"] = [{"role": "user", "content": text}]
    return body


@pytest.mark.parametrize("merged", [False, True], ids=["system message", "merged"])
@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
def test_a_question_is_the_same_however_it_is_asked(mode: str, merged: bool) -> None:
    """By schema, JSON mode or words, with a system message or without."""
    canonical = _canonical(_body(mode, merged=merged))
    assert [message["role"] for message in canonical["messages"]] == ["system", "user"]
    assert canonical["messages"][0]["content"] == "Judge this.\n\nBe {brief}."
    assert read_material(canonical).user_text == "I said {it} and\n{left}."
    assert set((asked_schema(canonical) or {})["properties"]) == {"reason", "score"}
