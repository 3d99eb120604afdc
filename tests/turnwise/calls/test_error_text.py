"""Errors in words for whoever set the endpoint up."""

import pytest

from turnwise.calls import Endpoint, Role
from turnwise.calls.error_text import text_of_error
from turnwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallRefused,
    ConnectionFailed,
    ContextTooLong,
    EndpointError,
    ModelLoading,
    QuotaExhausted,
    RateLimited,
    UnknownModel,
    WrongAddress,
)
from turnwise.testing.fakes import ScriptedClient


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
        (QuotaExhausted("answered 402: no credit"), "account behind DEEPSEEK_API_KEY"),
        (UnknownModel("answered 404: no such model"), "TURNWISE_JUDGE_MODEL, or endpoints.judge"),
        (WrongAddress("a redirect"), "endpoints.judge.base_url"),
        (ConnectionFailed("refused"), "Is the server up"),
        (ModelLoading("loading"), "retry.model_loading_seconds"),
        (ContextTooLong("too long"), "memory.history_turns"),
        (BadRequest("answered 501: no"), "endpoints.judge.base_url"),
        (RateLimited("slow down"), "retry.rate_limited_attempts"),
    ],
)
def test_an_error_names_role_endpoint_what_to_set_and_that_the_run_goes_on(error, words):
    """In one line."""
    text = text_of_error(seen(error, Role.JUDGE))
    assert text.startswith(f"{type(error).__name__}: judge at api.deepseek.com (deepseek-chat): ")
    assert words in text
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
