"""Prompt and answer of a call as attributes of its span, where they are asked for."""

import json
from typing import Any, NamedTuple

from callwise.calls.call import Message
from callwise.calls.redaction import redact

__all__ = ["CallTexts"]


class CallTexts(NamedTuple):
    """Prompt and answer of one call. Untrusted."""

    messages: tuple[Message, ...]
    answer: str | None

    def attributes(self, finish_reason: str) -> list[tuple[str, str]]:
        """Return both in the form of OpenTelemetry's conventions, as JSON without keys."""
        asked = [{"role": each.role, "parts": _parts(each)} for each in self.messages]
        found: list[tuple[str, Any]] = [("gen_ai.input.messages", asked)]
        if self.answer is not None:
            part = {"type": "text", "content": self.answer}
            reason = finish_reason or "stop"
            answer = {"role": "assistant", "parts": [part], "finish_reason": reason}
            found.append(("gen_ai.output.messages", [answer]))
        return [(name, redact(json.dumps(each, ensure_ascii=False))) for name, each in found]


def _parts(message: Message) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if message.role == "tool":
        response = {"type": "tool_call_response", "id": message.tool_call_id}
        return [{**response, "response": message.content}]
    if message.content:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {"type": str(part.get("type"))} for part in message.parts if part.get("type") != "text"
    ]
    for call in message.tool_calls:
        function = call.get("function", {})
        called = {"type": "tool_call", "id": call.get("id"), "name": function.get("name")}
        parts.append({**called, "arguments": function.get("arguments")})
    return parts
