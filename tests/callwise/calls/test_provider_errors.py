"""Meaning of a provider's failure: every status and wording, and the sentence for a person."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls import Endpoint, Role
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallError,
    CallRefused,
    ConnectionFailed,
    ContentRefused,
    ContextTooLong,
    EndpointError,
    ModelLoading,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnknownModel,
    WrongAddress,
)
from callwise.calls.provider_errors import (
    Refusal,
    describe_body,
    failure_of,
    redacted_line,
    retry_after_seconds,
    text_of_error,
)
from callwise.testing.fakes import ScriptedClient

NOW = datetime(2026, 11, 20, tzinfo=UTC)
keys = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=8)


@given(st.text(), keys, st.text())
def test_a_key_is_never_left(before, key, after):
    """Whatever text is around it."""
    assert key not in redacted_line(f"{before} {key} {after}", key).replace("[key]", "")


@given(st.text())
def test_a_redacted_text_is_short_and_on_one_line(text):
    """So that it fits a log."""
    redacted = redacted_line(text)
    assert len(redacted) <= 501
    assert "\n" not in redacted


def test_ordinary_words_stay():
    """A short key does not blank out the message."""
    assert redacted_line("the test failed at a task", "test", None) == "the test failed at a task"


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"", "", "an empty body"),
        (b" <HTML>", "", "an HTML page"),
        (b"x", "text/html; charset=utf-8", "an HTML page"),
        (b"{}", "a/b", "2 bytes of a/b that are not of the expected form, starting '{}'"),
        (b"\xff\x00", "", "2 bytes of no content type that are not JSON, starting '\ufffd\\x00'"),
    ],
)
def test_a_body_is_described(content, content_type, words):
    """In a few words, whatever it is."""
    assert describe_body(content, content_type) == words


@given(st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_unknown(value):
    """Never negative, never infinite, never an exception."""
    seconds = retry_after_seconds({"retry-after": value}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("value", ["Fri, 99 Nov 2026 00:00:00 GMT", "-3", "inf", "", "1e400"])
def test_a_wrong_retry_after_is_unknown(value):
    """The budgeter then uses its own wait."""
    assert retry_after_seconds({"retry-after": value}, now=NOW) is None


def test_a_date_without_a_zone_is_in_gmt():
    """As the standard says that it must be."""
    headers = {"retry-after": "Fri, 20 Nov 2026 00:00:05 -0000"}
    assert retry_after_seconds(headers, now=NOW) == 5.0


def failure(status, words, **fields):
    """Return what a refusal means."""
    return failure_of(Refusal(status, words, f"host: answered {status}: {words}", **fields))


@pytest.mark.parametrize(
    ("status", "words", "fields"),
    [
        (403, "Your chosen model requires moderation and your input was flagged", {}),  # OpenRouter
        (400, "The response was filtered", {"code": "content_filter"}),  # Azure
        (400, "triggering Azure OpenAI's content management policy", {}),
        (400, "Input data may contain inappropriate content.", {"code": "data_inspection_failed"}),
        (400, "<400> InternalError.Algo.DataInspectionFailed: Input text data may ...", {}),
        (400, "Your request was rejected", {"code": "content_policy_violation"}),
        (400, "Invalid prompt: your prompt was flagged as potentially violating", {}),
        (400, "Content Exists Risk", {}),  # DeepSeek
        (400, "The request was rejected because it was considered high risk", {}),  # Moonshot
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", {"code": "1301"}),  # Zhipu
    ],
)
def test_refused_content_is_not_a_wrong_key(status, words, fields):
    """It fails the call, not the run, and no model was paid for."""
    error = failure(status, words, **fields)
    assert (type(error), error.status, error.is_fatal) == (ContentRefused, status, False)


@pytest.mark.parametrize(
    ("status", "words", "fields"),
    [
        (402, "Insufficient Balance", {}),  # DeepSeek
        (402, "This request requires more credits, or fewer max_tokens.", {}),  # OpenRouter
        (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            {"code": "insufficient_quota"},
        ),
        (429, "Your account is suspended", {"kind": "exceeded_current_quota_error"}),  # Moonshot
        (429, "余额不足或无可用资源包,请充值。", {"code": "1113"}),  # Zhipu
        (
            400,
            "Access denied, please make sure your account is in good standing.",
            {"code": "Arrearage"},
        ),  # DashScope
        (403, "The free tier of the model has been exhausted.", {}),
        (400, "Your credit balance is too low to access the API", {}),
    ],
)
def test_an_exhausted_quota_is_fatal(status, words, fields):
    """Whatever status it comes under."""
    error = failure(status, words, **fields)
    assert (type(error), error.is_fatal, error.is_retryable) == (QuotaExhausted, True, False)


@pytest.mark.parametrize(
    ("words", "retry_after", "seconds"),
    [
        ("Rate limit reached. Please try again in 7.66s. Need more tokens?", None, 7.66),
        ("You exceeded your current quota. Please retry in 37.5s.", None, 37.5),  # Google
        ("Please try again in 1m12.5s", None, 72.5),
        ("Please try again in 20ms", None, 0.02),
        ("You exceeded your current quota", 12.0, 12.0),
        ("slow down", None, None),
    ],
)
def test_a_limit_per_minute_is_waited_for(words, retry_after, seconds):
    """A wait that a header or a text names means that waiting helps."""
    error = failure(429, words, retry_after_seconds=retry_after)
    assert (type(error), error.retry_after_seconds) == (RateLimited, seconds)


@pytest.mark.parametrize(
    ("status", "words", "fields"),
    [
        (404, "The model `gpt-9` does not exist or you do not have access to it.", {}),
        (403, "Project does not have access to model `gpt-9`", {"code": "model_not_found"}),
        (404, 'model "llama9" not found, try pulling it first', {}),  # Ollama
        (400, "deepseek/chat-9 is not a valid model ID", {}),  # OpenRouter
        (400, "Model Not Exist", {}),  # DeepSeek
        (400, "Invalid model: mistral-9", {"code": "1500"}),
        (400, "模型不存在，请检查模型代码。", {"code": "1211"}),  # Zhipu
        (404, "Not found the model kimi-9 or Permission denied", {}),  # Moonshot
        (404, "models/gemini-9 is not found for API version v1main", {}),
        (400, "The requested model is not supported.", {"code": "model_not_supported"}),
        (400, "No models loaded. Please load a model in the developer page.", {}),  # LM Studio
    ],
)
def test_an_unknown_model_is_fatal(status, words, fields):
    """Every call would meet it again."""
    error = failure(status, words, **fields)
    assert (type(error), error.is_fatal) == (UnknownModel, True)


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "`logprobs` is not supported with this model",
        "This model does not support response format `json_schema`.",
        "Model grok-4 does not support parameter presencePenalty.",
        "this model is not supported with temperature 0.5",
        "Invalid value for temperature",
    ],
)
def test_a_refused_field_is_not_an_unknown_model(words):
    """The model is there; a field of the request is what it does not take."""
    assert type(failure(400, words)) is BadRequest


@pytest.mark.parametrize(
    ("status", "words", "limit", "prompt"),
    [
        (
            400,
            (
                "This model's maximum context length is 8192 tokens. However, you requested 8256 "
                "tokens (64 in the messages, 8192 in the completion)."
            ),
            8192,
            64,
        ),
        (
            400,
            "maximum context length is 8192 tokens, you requested 9000 tokens",
            8192,
            9000,
        ),
        (
            400,
            (
                "This model's maximum context length is 128000 tokens. However, your messages "
                "resulted in 204308 tokens."
            ),
            128_000,
            204_308,
        ),
        (
            400,
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 2400. This model's maximum "
                "context length is 2048 tokens and your request has 900 input tokens"
            ),
            2048,
            900,
        ),  # vLLM
        (
            400,
            (
                "Requested token count exceeds the model's maximum context length of 202752 tokens"
                ". You requested a total of 202941 tokens: 170941 tokens from the input messages "
                "and 32000 tokens for the completion."
            ),
            202_752,
            170_941,
        ),  # SGLang
        (
            400,
            "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            40_960,
            61_709,
        ),
        (
            400,
            "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).",
            59_862,
            160_062,
        ),
        (400, "request (1407 tokens) exceeds the available context size (256 tokens)", 256, 1407),
        (500, "Requested tokens (2285) exceed context window of 2048", 2048, 2285),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", 200_000, 210_000),
        (
            400,
            "input token count (1200000) exceeds the maximum number of tokens allowed (1048576)",
            1_048_576,
            1_200_000,
        ),  # Gemini
        (
            400,
            "<400> InvalidParameter: Range of input length should be [1, 30720]",
            30_720,
            None,
        ),
        (400, "Your request exceeded model token limit: 8192", 8192, None),  # Moonshot
        (
            400,
            (
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 "
                "maximum context length"
            ),
            32_768,
            40_000,
        ),  # Mistral
        (
            413,
            (
                "Request too large for model on tokens per minute (TPM): Limit 6000, Requested 9000"
                ", please reduce your message size and try again."
            ),
            6000,
            9000,
        ),  # Groq
        (
            422,
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097."
                " Given: 4000 `inputs` tokens and 512 `max_new_tokens`"
            ),
            4097,
            4000,
        ),  # TGI
        (
            400,
            (
                "This endpoint's maximum context length is 32,768 tokens. You requested about "
                "40,000 tokens (38,000 of text input, 2,000 in the output)."
            ),
            32_768,
            38_000,
        ),  # OpenRouter
        (413, "Payload Too Large", None, None),
        (400, "Prompt 超长", None, None),
    ],
)
def test_a_prompt_that_is_too_long_says_how_long_it_may_be(status, words, limit, prompt):
    """As far as the endpoint says so."""
    error = failure(status, words)
    assert type(error) is ContextTooLong
    assert (error.limit_tokens, error.prompt_tokens) == (limit, prompt)


def test_numbers_of_the_body_go_before_words():
    """llama.cpp sends them apart."""
    words = "the request exceeds the available context size, try increasing it"
    fields = {"kind": "exceed_context_size_error", "limit_tokens": 8192, "prompt_tokens": 14_429}
    error = failure(400, words, **fields)
    assert (error.limit_tokens, error.prompt_tokens) == (8192, 14_429)


@pytest.mark.parametrize(
    "words", ["Loading model", "Model meta/llama is currently loading", "The model is loading"]
)
def test_a_server_that_loads_its_model_says_so(words):
    """Under 503 only."""
    assert type(failure(503, words)) is ModelLoading
    assert type(failure(500, words)) is ServerFailed


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (403, "Country, region, or territory not supported", AuthFailed),
        (400, "API key not valid. Please pass a valid API key.", AuthFailed),  # Gemini
        (401, "no", AuthFailed),
        (501, "not implemented", BadRequest),
        (405, "method is not this one", BadRequest),
        (529, "Overloaded", ServerFailed),
        (503, "no upstream", ServerFailed),
        (404, "Not Found", WrongAddress),  # FastAPI
        (404, "404 page not found", WrongAddress),  # Go
        (404, "Invalid URL (POST /chat/completions)", WrongAddress),  # OpenAI
        (200, "Unexpected endpoint or method. (POST /chat/completions)", WrongAddress),  # LM Studio
        (200, "upstream busy", BadResponse),
    ],
)
def test_what_is_left_goes_by_its_status(status, words, kind):
    """A wrong address is told from a wrong model by what the server says."""
    assert type(failure(status, words)) is kind


@given(st.integers(300, 599), st.text(), st.none() | st.text(max_size=30))
def test_any_refusal_is_a_named_error(status, words, code):
    """Never an exception, whatever was said."""
    assert isinstance(failure(status, words, code=code), CallError)


def seen(error, role=Role.MAIN):
    """Return an error as it is once a budgeter has seen it."""
    error.role = role
    error.endpoint = Endpoint(
        "api.deepseek.com", "deepseek-chat", ScriptedClient(), key_variable="DEEPSEEK_API_KEY"
    )
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AuthFailed("api.deepseek.com: answered 401: no"), "Set DEEPSEEK_API_KEY"),
        (QuotaExhausted("answered 402: no credit"), "quota is left for DEEPSEEK_API_KEY"),
        (UnknownModel("answered 404: no such model"), "CALLWISE_JUDGE_MODEL, or endpoints.judge"),
        (WrongAddress("a redirect"), "endpoints.judge.base_url"),
        (ConnectionFailed("refused"), "Is the server up"),
        (ModelLoading("loading"), "retry.model_loading_seconds"),
        (ContextTooLong("too long"), "memory.history_turns"),
        (BadRequest("answered 501: no"), "endpoints.judge.base_url"),
        (RateLimited("slow down"), "retry.rate_limited_attempts"),
        (
            RateLimited("no", retry_after_seconds=89.0),
            "Wait 89 s, .* retry.max_retry_after_seconds",
        ),
    ],
)
def test_an_error_names_role_endpoint_what_to_set_and_that_the_run_goes_on(error, words):
    """In one line."""
    text = text_of_error(seen(error, Role.JUDGE))
    assert text.startswith(f"{type(error).__name__}: judge at api.deepseek.com (deepseek-chat): ")
    assert re.search(words, text)
    assert text.endswith("The same command goes on where it stopped.")
    assert "\n" not in text


def test_the_host_is_named_once():
    """Clients begin with it, and so does the sentence."""
    text = text_of_error(seen(AuthFailed("api.deepseek.com: answered 401: no")))
    assert text.count("api.deepseek.com") == 1


def test_notes_of_the_budgeter_are_kept():
    """Why it was not tried again."""
    error = seen(EndpointError("odd"))
    error.add_note("not tried again: 3 seconds left")
    error.add_note("During task with name 'detection'")
    assert "odd; not tried again: 3 seconds left." in text_of_error(error)
    assert "During task" not in text_of_error(error)


@pytest.mark.parametrize("error", [AuthFailed("no"), CallRefused("run", "max_calls", 1, 1, 1)])
def test_what_is_not_of_an_endpoint_is_left_as_it_is(error):
    """Its class, and its own words."""
    assert text_of_error(error) == f"{type(error).__name__}: {error}"
