"""Lessons of refusals, in the words that endpoints are reported to use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.capabilities import (
    Capabilities,
    capabilities_of_document,
    document_of_capabilities,
    learn_from_length,
    learn_from_refusal,
)
from callwise.calls.errors import ContextTooLong
from callwise.calls.provider_errors import Refusal

BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "temperature": 0.6,
    "top_p": 0.9,
    "max_tokens": 8192,
    "seed": 3,
    "stop": ["END"],
    "n": 2,
    "reasoning_effort": "low",
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logprobs": True,
    "top_logprobs": 5,
    "stream": True,
    "stream_options": {"include_usage": True},
    "tool_choice": "auto",
    "response_format": {"type": "json_schema"},
}
TAKES_ALL = Capabilities()


def lesson_of(words, *, capabilities=TAKES_ALL, body=BODY, status=400, **fields):
    """Return what words teach about the body."""
    refusal = Refusal(status, words, f"host: {words}", **fields)
    return learn_from_refusal(capabilities, body, refusal)


@pytest.mark.parametrize(
    "words",
    [
        "This response_format type is unavailable now",  # DeepSeek
        "Unrecognized request argument supplied: response_format",  # older Azure
        "json_schema is not supported with this model",
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this "
            "model. Learn more about supported models"
        ),  # OpenAI
        "'response_format.type' : value is not one of the allowed values ['text','json_object']",
        "This model does not support response format `json_schema`. See supported models",  # Groq
        (
            "invalid schema for response format: "
            "response_format/json_schema/next_step: minItems is "
            "not supported"
        ),  # Groq
        (
            "Invalid schema for response_format 'Verdict': In context=(), "
            "'additionalProperties' is "
            "required to be supplied and to be false."
        ),  # OpenAI
        (
            "<400> InternalError.Algo.InvalidParameter: 'messages' must contain the word 'json' in "
            "some form, to use 'response_format' of type 'json_object'."
        ),  # DashScope, of a schema
        "Failed to initialize samplers: failed to parse grammar",  # llama.cpp
        "The provided JSON schema contains features not supported by xgrammar.",  # vLLM
        "response_format.type must be one of text, json_object",
        "Unknown name \"$defs\" at 'generation_config.response_schema': Cannot find field.",
        'Invalid JSON payload received. Unknown name "response_format": Cannot find field.',
        (
            "[{'type': 'extra_forbidden', 'loc': ('body', 'response_format'), 'msg': 'Extra inputs "
            "are not permitted', 'input': {}}]"
        ),  # vLLM
    ],
)
def test_a_refused_schema_becomes_json_mode_and_then_words(words):
    """One step at a time; nothing else changes."""
    first = lesson_of(words)
    assert first.capabilities == Capabilities(schema_mode="json_object")
    body = BODY | {"response_format": {"type": "json_object"}}
    second = lesson_of(words, capabilities=first.capabilities, body=body)
    assert second.capabilities == Capabilities(schema_mode="prompt")
    without = {name: value for name, value in BODY.items() if name != "response_format"}
    third = lesson_of(words, capabilities=second.capabilities, body=without)
    assert third is None or third.capabilities.schema_mode == "prompt"


def test_a_server_that_takes_schemas_only_is_asked_by_schema():
    """LM Studio refuses JSON mode that was set by hand."""
    start = Capabilities(schema_mode="json_object")
    lesson = lesson_of("'response_format.type' must be 'json_schema' or 'text'", capabilities=start)
    assert lesson.capabilities == Capabilities(schema_mode="json_schema")


@pytest.mark.parametrize(
    ("words", "fields", "refused"),
    [
        (
            (
                "Unsupported value: 'temperature' does not support 0.6 with this model. Only the "
                "default (1) value is supported."
            ),
            {"param": "temperature", "code": "unsupported_value"},
            {"temperature"},
        ),
        ("invalid temperature: only 1 is allowed for this model", {}, {"temperature"}),  # Moonshot
        ("temperature参数非法。请检查文档。", {"code": "1214"}, {"temperature"}),  # Zhipu
        ("[1214][top_p参数非法。请检查文档。]", {}, {"top_p"}),
        (
            "temperature and top_p cannot both be specified for this model. Please use only one.",
            {},
            {"top_p"},
        ),
        (
            "Unsupported parameter: 'presence_penalty' is not supported with this model.",
            {"param": "presence_penalty", "code": "unsupported_parameter"},
            {"presence_penalty"},
        ),
        ("Argument not supported on this model: presencePenalty", {}, {"presence_penalty"}),  # xAI
        ("Model grok-4 does not support parameter reasoningEffort.", {}, {"reasoning_effort"}),
        (
            (
                'Invalid JSON payload received. Unknown name "frequency_penalty": '
                "Cannot find field.\n"
                'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
            ),
            {},
            {"frequency_penalty", "seed"},
        ),  # Gemini
        (
            (
                "{'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra "
                "inputs are not permitted', 'input': 3}]}"
            ),
            {},
            {"seed"},
        ),  # Mistral
        (
            (
                '{"detail":[{"type":"extra_forbidden","loc":["body","frequency_penalty"],'
                '"msg":"Extra inputs are not permitted","input":0.5}]}'
            ),
            {"code": "1000"},
            {"frequency_penalty"},
        ),
        ("logprobs is not supported", {}, {"logprobs"}),
        ("Logprobs is not enabled for models/gemini-2.5-pro", {}, {"logprobs"}),
        ("`logprobs` is not supported with this model", {}, {"logprobs"}),  # Groq
        (
            (
                "Gaudi doesn't support logprobs. Please remove 'logprobs'/'top_logprobs' from your "
                "request to receive a response."
            ),
            {},
            {"logprobs", "top_logprobs"},
        ),
        (
            "Unsupported parameter: 'stop' is not supported with this model.",
            {"param": "stop", "code": "unsupported_parameter"},
            {"stop"},
        ),
        ("'n' : number must be at most 1", {}, {"n"}),  # Groq
        ("Unrecognized request argument supplied: seed", {}, {"seed"}),
        ("stream_options: Extra inputs are not permitted", {}, {"stream_options"}),
        ("tool_choice is not implemented for this model", {}, {"tool_choice"}),
        (
            "Unknown parameter: top_p. Supported parameters are: temperature, seed, stop, n",
            {},
            {"top_p"},
        ),
    ],
)
def test_a_refused_field_is_dropped(words, fields, refused):
    """Those that the refusal names, and no other."""
    lesson = lesson_of(words, **fields)
    assert lesson.capabilities == Capabilities(refused=frozenset(refused))
    assert all(name in lesson.change for name in refused)


@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        (
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead."
            ),
            {"param": "max_tokens", "code": "unsupported_parameter"},
            {
                "token_limit_field": "max_completion_tokens",
                "refused": frozenset({"max_tokens"}),
            },
        ),
        (
            (
                "max_tokens is too large: 8192. This model supports at most 4096 "
                "completion tokens, "
                "whereas you provided 8192."
            ),
            {"param": "max_tokens"},
            {"max_output_tokens": 4096},
        ),
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]",
            {"code": "invalid_request_error"},
            {"max_output_tokens": 4096},
        ),  # DeepSeek
        (
            "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 2000]",
            {},
            {"max_output_tokens": 2000},
        ),  # DashScope
        (
            (
                "`max_tokens` must be less than or equal to `8000`, the maximum value for "
                "`max_tokens` is less than the `context_window` for this model"
            ),
            {},
            {"max_output_tokens": 8000},
        ),  # Groq
        (
            (
                "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for "
                "claude-3-haiku-20240307"
            ),
            {},
            {"max_output_tokens": 4096},
        ),
        (
            "Requests with max_tokens > 4096 must have stream=true",
            {},
            {"max_output_tokens": 4096},
        ),  # Fireworks
        (
            "max_tokens is not supported with model gpt-5-2025-08-07",
            {},
            {
                "token_limit_field": "max_completion_tokens",
                "refused": frozenset({"max_tokens"}),
            },
        ),
    ],
)
def test_a_refused_limit_is_lowered_or_renamed(words, fields, expected):
    """By the number that the refusal names, or to the other field."""
    lesson = lesson_of(words, **fields)
    assert lesson.capabilities == Capabilities(**expected)


def test_an_exclusive_limit_is_lowered_to_what_it_includes():
    """Google says it so, and calls the field by another name."""
    words = (
        "Unable to submit request because it has a maxOutputTokens value of 100000 but the "
        "supported range is from 1 (inclusive) to 65537 (exclusive)."
    )
    lesson = lesson_of(words, body=BODY | {"max_tokens": 100_000})
    assert lesson.capabilities == Capabilities(max_output_tokens=65_536)


def test_a_limit_that_is_refused_by_both_names_is_dropped():
    """Each name is tried once."""
    first = lesson_of("max_tokens is not supported").capabilities
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    body["max_completion_tokens"] = 100
    words = (
        "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra "
        "inputs are not permitted', 'input': 100}]"
    )
    second = lesson_of(words, capabilities=first, body=body)
    assert second.capabilities.refused == {"max_tokens", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("status", "words", "param"),
    [
        (
            400,
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "messages[0].role",
        ),
        (400, "System role not supported", None),  # vLLM, Gemma 2
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", None),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it", None),  # Gemini
        (500, "jinja2.exceptions.TemplateError: System role not supported", None),  # SGLang
        (500, "Value is not callable: null at row 1: raise_exception('System role", None),
        (400, "Only user and assistant roles are supported!", None),
    ],
)
def test_a_refused_system_role_is_merged(status, words, param):
    """Also where a chat template fails with a 500."""
    lesson = lesson_of(words, status=status, param=param)
    assert lesson.capabilities == Capabilities(system_role="user")
    again = lesson_of(words, status=status, param=param, capabilities=lesson.capabilities)
    assert again is None


@pytest.mark.parametrize(
    ("status", "words", "fields"),
    [
        (400, "API 调用参数有误，请检查文档。", {"code": "1210"}),  # Zhipu: names nothing
        (400, "something went wrong", {"param": "messages"}),
        (400, "Invalid value for 'tools[0].function'", {"param": "tools[0].function"}),
        (422, "Field required", {"param": "model"}),
        (500, "temperature is not supported", {}),
        (500, "internal error", {}),
        (401, "temperature is not supported", {}),
        (429, "temperature is not supported", {}),
        (200, "upstream busy", {}),
        (400, "the weather is unsupported in n places at which we stop", {}),
    ],
)
def test_what_names_no_field_of_the_body_teaches_nothing(status, words, fields):
    """It stays the error that it is."""
    assert lesson_of(words, status=status, **fields) is None


@pytest.mark.parametrize("words", ["Bad Request", "", "Invalid request."])
def test_a_refusal_without_a_reason_is_taken_for_one_of_the_form(words):
    """It is what endpoints refuse most; without a form in the body it teaches nothing."""
    lesson = lesson_of(words, status=400)
    assert lesson is not None
    assert lesson.capabilities == Capabilities(schema_mode="json_object")
    refusal = Refusal(400, words, f"host: {words}")
    body = {"model": "m", "messages": []}
    assert learn_from_refusal(Capabilities(), body, refusal) is None


def test_a_field_that_is_not_in_the_body_cannot_be_refused():
    """So that learning ends."""
    body = {"model": "m", "messages": []}
    for name in ("temperature", "response_format", "max_tokens", "system role"):
        words = f"'{name}' is not supported"
        assert lesson_of(words, body=body) is None


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from([*BODY, "not supported", "system role", "must", "[1, 100]", "json_schema"]),
        max_size=6,
    ).map(" ".join),
    st.sampled_from([400, 422, 500]),
)
def test_learning_ends_whatever_is_refused(words, status):
    """An endpoint that always says the same is asked a bounded number of times."""
    capabilities = TAKES_ALL
    seen = {capabilities}
    for _ in range(40):
        refused = capabilities.refused
        body = {name: value for name, value in BODY.items() if name not in refused}
        lesson = lesson_of(words, status=status, capabilities=capabilities, body=body)
        if lesson is None or lesson.capabilities in seen:
            return
        capabilities = lesson.capabilities
        seen.add(capabilities)
    raise AssertionError(f"{words!r} never stops teaching")


def test_a_limit_that_takes_most_of_the_context_is_halved():
    """The rest is the prompt's; once that is so, nothing more is learned."""
    error = ContextTooLong("too long", limit_tokens=4096)
    lesson = learn_from_length(TAKES_ALL, BODY, error)
    assert lesson.capabilities == Capabilities(context_tokens=4096, max_output_tokens=2048)
    body = BODY | {"max_tokens": 2048}
    assert learn_from_length(lesson.capabilities, body, error) is None
    assert learn_from_length(TAKES_ALL, BODY, ContextTooLong("too long")) is None


@given(
    st.builds(
        Capabilities,
        schema_mode=st.sampled_from(["json_schema", "json_object", "prompt"]),
        token_limit_field=st.sampled_from(["max_tokens", "max_completion_tokens"]),
        system_role=st.sampled_from(["system", "user"]),
        refused=st.frozensets(st.sampled_from(sorted(BODY))),
        context_tokens=st.none() | st.integers(1, 10**6),
        max_output_tokens=st.none() | st.integers(1, 10**6),
    )
)
def test_capabilities_survive_being_written_down(capabilities):
    """As JSON, in the same form each time."""
    document = document_of_capabilities(capabilities)
    assert capabilities_of_document(document) == capabilities
    assert document_of_capabilities(capabilities.model_copy()) == document


@pytest.mark.parametrize(
    "document",
    [
        {"schema_mode": "xml"},
        {"context_tokens": -1},
        {"max_output_tokens": True},
        {"colour": "red"},
        {"system_role": "tool"},
        {"refused": 7},
    ],
)
def test_what_is_no_capability_is_refused(document):
    """A file may have been edited by hand."""
    with pytest.raises(ValueError, match="not the capabilities"):
        capabilities_of_document(document)
