"""Bodies and material that the tests of the simulated model share."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.capabilities import Capabilities
from callwise.calls.wire import chat_body

ENGLISH = {
    "language": "en",
    "user_text": "My boss made me stay late again. I want to see a film tonight, any ideas?",
}
CHINESE = {
    "language": "zh",
    "user_text": "今天老板又让我加班，我有点烦。晚上想去看电影，你说看什么好？",
}


def make_call(material: Any, model: type[BaseModel] | None = None, **fields: Any) -> Call:
    """Return a chat call as the pipeline makes it: static instructions, then material."""
    text = material if isinstance(material, str) else json.dumps(material, ensure_ascii=False)
    messages = (Message("system", "Static instructions."), Message("user", text))
    return Call(Role.MAIN, Purpose.OTHER, messages, response_model=model, **fields)


@pytest.fixture
def ask():
    """Return a function that makes a call."""
    return make_call


@pytest.fixture
def body_of():
    """Return a function that makes a request body from material and a response model."""

    def make(material, model=None, *, schema_mode="json_schema", **fields):
        return chat_body(
            make_call(material, model, **fields),
            model="m",
            capabilities=Capabilities(schema_mode=schema_mode),
        )

    return make


@pytest.fixture
def english():
    """Material in English."""
    return dict(ENGLISH)


@pytest.fixture
def chinese():
    """Material in Chinese."""
    return dict(CHINESE)
