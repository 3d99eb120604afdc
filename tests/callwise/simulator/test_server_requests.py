"""Whatever is sent to the simulated server: an answer or a 400, and soon."""

import asyncio
import http.client
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import BadRequest
from callwise.simulator import SimulatedClient
from callwise.simulator.server import SimServer

HELLO = [{"role": "user", "content": "hello"}]
BILLION = 10**9


@pytest.fixture(scope="module")
def ask():
    """Return a function that posts a body and returns status and document."""
    loop = asyncio.new_event_loop()
    server = SimServer()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def post(body, path="/v1/chat/completions"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(server.origin.removeprefix("http://"), timeout=60)
        connection.request("POST", path, data, {"content-type": "application/json"})
        with connection.getresponse() as response:
            answer = response.read()
            status = response.status
        connection.close()
        if status == 200 and answer.startswith(b"data:"):
            return status, None
        return status, json.loads(answer)

    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(timeout=20)
        yield post
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()


def form(schema):
    """Return the fields that ask for a form."""
    wrapped = {"name": "x", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": wrapped}}


def recursive(**fields):
    """Return a schema that has itself in a property."""
    return {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"], **fields}


def wide(depth):
    """Return a schema of arrays of arrays, each of a hundred."""
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 100}
    return schema


def all_of(depth):
    """Return a schema whose parts each stand for two parts of the next kind."""
    kinds = {f"k{at}": {"allOf": [{"$ref": f"#/d/k{at + 1}"}] * 2} for at in range(depth)}
    return {"$ref": "#/d/k0", "d": kinds}


TOO_MUCH = {
    "many choices": {"n": BILLION},
    "no choice": {"n": 0},
    "choices as text": {"n": "1"},
    "choices as truth": {"n": True},
    "messages that are none": {"messages": [1]},
    "messages of nothing": {"messages": [None]},
    "messages as an object": {"messages": {"role": "user"}},
    "no message": {"messages": []},
    "a role that is none": {"messages": [{"role": "king", "content": "x"}]},
    "a content that is none": {"messages": [{"role": "user", "content": 7}]},
    "parts that are none": {"messages": [{"role": "user", "content": [7]}]},
    "a stop that is none": {"stop": [1]},
    "a negative limit": {"max_tokens": -1},
    "a limit as text": {"max_completion_tokens": "many"},
    "a hot model": {"temperature": 1e300},
    "many alternatives": {"logprobs": True, "top_logprobs": BILLION},
    "a seed as text": {"seed": "x"},
    "tools that are none": {"tools": [1]},
    "a tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "a form that is none": {"response_format": []},
    "a schema that is none": {"response_format": {"type": "json_schema", "json_schema": 1}},
    "a stream as text": {"stream": "yes"},
    "many items": form({"type": "array", "items": {"type": "string"}, "minItems": BILLION}),
    "items in items": form(wide(6)),
    "a long text": form({"type": "string", "minLength": BILLION}),
    "many long texts": form(
        {"type": "array", "items": {"type": "string", "minLength": 32_000}, "minItems": 9_000}
    ),
    "many keys": form({"type": "object", "minProperties": BILLION}),
    "no end": form(recursive()),
    "no end in words": form({"anyOf": [{"$ref": "#"}]}),
    "no end, described": form({"type": "object", "properties": {"x": {"$ref": "#", "title": "y"}}}),
    "no end in parts": form({"allOf": [{"$ref": "#"}]}),
    "parts of parts": form(all_of(60)),
    "an unknown kind of number": form({"type": "integer", "minimum": "x"}),
    "a list that is none": form({"type": "object", "required": 7, "properties": {"a": True}}),
    "properties that are none": form({"type": "object", "properties": [1]}),
    "an odd format": form({"type": "string", "format": []}),
    "a step of nothing": form({"type": "number", "multipleOf": 1e-320}),
}


@pytest.mark.parametrize("fields", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_no_server_takes_is_a_400(ask, fields):
    """With what is wrong; and the server goes on."""
    status, document = ask({"model": "m", "messages": HELLO, **fields})
    assert status == 400, document
    assert document["error"]["type"] == "invalid_request_error"
    assert ask({"model": "m", "messages": HELLO})[0] == 200


BOUNDED = {
    "a pattern that backtracks": form({"type": "string", "pattern": "^(a+)+$b", "minLength": 4000}),
    "a count in the material": {
        "messages": [{"role": "user", "content": json.dumps({"count": BILLION})}],
        **form(
            {
                "type": "object",
                "properties": {"candidates": {"type": "array", "items": {"type": "string"}}},
            }
        ),
    },
    "many candidates": {
        "messages": [{"role": "user", "content": json.dumps({"candidates": ["x"] * 100_000})}],
        **form(
            {
                "type": "object",
                "properties": {"ranking": {"type": "array", "items": {"type": "string"}}},
            }
        ),
    },
    "branches": form(
        {"type": "object", "properties": {f"p{at}": {"$ref": "#"} for at in range(60)}}
    ),
    "most choices": {"n": 128, **form({"type": "object", "properties": {"a": {"type": "string"}}})},
    "parts of an image": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
        ]
    },
}


@pytest.mark.parametrize("fields", BOUNDED.values(), ids=BOUNDED)
def test_what_is_odd_is_answered_soon(ask, fields):
    """Or refused; the time-out of the connection is the bound."""
    status, _ = ask({"model": "m", "messages": HELLO, **fields})
    assert status in {200, 400}


def test_bodies_that_are_no_objects_are_refused(ask):
    """Nested without end, too; one that is too long is a 413."""
    for body in (b"", b"[", b"[1]", b'"x"', b"\xff", b'{"a":' * 500 + b"1" + b"}" * 500):
        assert ask(body)[0] == 400
        assert ask(body, "/v1/embeddings")[0] == 400


@pytest.mark.parametrize("value", [None, 1, [], [1], [[1]], {}, ["x"] * 3000, [None]])
def test_inputs_that_are_no_texts_are_refused(ask, value):
    """An embedding is of a text, or of a list of them."""
    assert ask({"input": value}, "/v1/embeddings")[0] == 400


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = [
    "model",
    "messages",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "response_format",
]
KEYWORDS = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
]
KINDS = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 0.5, 1e9, 1e308, -1e308])
NAMES = st.sampled_from(["reply", "score", "candidates", "x"])


def keywords(inner):
    """Return the keywords of a schema, some of them, with values of about the right type."""
    many = st.lists(inner, max_size=2)
    return {
        "type": KINDS | st.lists(KINDS, max_size=2),
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "required": st.lists(NAMES, max_size=2),
        **dict.fromkeys(["items", "additionalProperties", "propertyNames"], inner),
        **dict.fromkeys(["anyOf", "allOf", "prefixItems"], many),
        **dict.fromkeys(["minItems", "maxItems", "minLength", "maxLength"], NUMBERS),
        **dict.fromkeys(["minimum", "maximum", "multipleOf", "exclusiveMinimum"], NUMBERS),
        "minProperties": NUMBERS,
        "uniqueItems": st.booleans(),
        "$ref": st.sampled_from(["#", "#/properties/x", "?"]),
        "pattern": st.sampled_from(["^a+$", "(", "(a+)+b", "[0-9]{3}"]),
        "enum": st.lists(JSON, max_size=2),
        "patternProperties": st.dictionaries(st.text(max_size=3), inner, max_size=1),
    }


SCHEMAS = st.recursive(
    st.builds(dict, type=KINDS) | JSON,
    lambda inner: (
        st.fixed_dictionaries({}, optional=keywords(inner))
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(derandomize=True)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_any_value_of_any_field_is_answered_or_refused(ask, fields):
    """Never a 500."""
    assert ask({"model": "m", "messages": HELLO, **fields})[0] in {200, 400}


@settings(derandomize=True)
@given(SCHEMAS, st.booleans(), st.sampled_from([1, 3]))
def test_any_schema_is_answered_or_refused(ask, schema, logprobs, n):
    """Never a 500."""
    body = {"model": "m", "messages": HELLO, "n": n, "logprobs": logprobs}
    status, document = ask({**body, **form(schema if isinstance(schema, dict) else {"x": schema})})
    assert status in {200, 400}, document
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert ask({**body, "tools": [tool], "tool_choice": "required"})[0] in {200, 400}


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_number_that_json_cannot_have_is_refused(ask, logprobs):
    """An integer of more than 64 bits is the only answer: 400, with the reason."""
    schema = {"type": "number", "minimum": 1e308, "multipleOf": 1e9}
    body = {"model": "m", "messages": HELLO, "logprobs": logprobs}
    status, document = ask({**body, **form({"type": "object", "properties": {"x": schema}})})
    assert status == 400
    assert "64-bit" in json.dumps(document)


async def test_a_form_without_end_is_an_error_of_the_call_in_process():
    """The client at the seam refuses it as a server would."""
    content = f"Answer so. JSON schema: {json.dumps(recursive())}"
    call = Call(Role.MAIN, Purpose.PLAN, (Message("system", content), Message("user", "x")))
    (answer,) = await SimulatedClient().answer([call], model="m")
    assert isinstance(answer, BadRequest)
