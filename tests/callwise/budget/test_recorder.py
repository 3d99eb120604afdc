"""Errors as records, and back."""

import pytest

from callwise.budget.recorder import RecordedError, error_of_record, record_of_error
from callwise.calls import errors

EXAMPLES = [
    errors.CallError("plain"),
    errors.CallRefused("run/turn:1", "max_calls[judge]", 3, 3, 1),
    errors.BudgetStoreLost("not reached"),
    errors.CassetteMiss("nothing"),
    errors.InvalidAnswer("points: missing", "{}"),
    errors.EmptyAnswer("empty"),
    errors.EmptyAnswer("thought too long", is_cut=True),
    errors.ContentRefused("declined"),
    errors.ContentRefused("moderated", status=403),
    errors.EndpointError("odd", status=418),
    errors.ConnectionFailed("refused", was_sent=False, latency_seconds=0.5),
    errors.CallTimeout("slow", latency_seconds=30.0),
    errors.RunStopped("the run has stopped: no credit"),
    errors.StreamCut("cut", status=200),
    errors.RateLimited("slow down", retry_after_seconds=2.5),
    errors.ServerFailed("down", status=503),
    errors.AnswerLost("the batch has expired"),
    errors.BatchUnfinished("the batch is not asked for any more"),
    errors.BatchFailed("a batch failed", status=500),
    errors.BadResponse("HTML", status=200),
    errors.AuthFailed("no", status=401),
    errors.BadRequest("wrong", status=422),
    errors.EndpointDown("not asked", was_sent=False),
    errors.Overloaded("queue full", was_sent=False),
    errors.ModelLoading("loading", status=503),
    errors.UnknownModel("no such model", status=404),
    errors.WrongAddress("a web page", status=404),
    errors.QuotaExhausted("no credit", status=402),
    errors.ContextTooLong("too long", limit_tokens=8192, prompt_tokens=9000, status=413),
    errors.ParameterRefused("no temperature", change="temperature is left out"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_call_error_comes_back_as_it_was(error):
    """Class, words and fields survive."""
    again = error_of_record(record_of_error(error, str(error)))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_every_class_of_the_tree_is_tried():
    """A new call error has to be added here."""
    kinds = {getattr(errors, name) for name in errors.__all__}
    calls = {kind for kind in kinds if issubclass(kind, errors.CallError)}
    assert {type(error) for error in EXAMPLES} == calls


@pytest.mark.parametrize("name", ["ZeroDivisionError", "CallwiseError", "__doc__", "ClassVar"])
def test_an_unknown_class_is_a_plain_call_error(name):
    """A name in a recording is looked up among call errors only."""
    error = error_of_record(RecordedError(name, "what it said"))
    assert type(error) is errors.CallError
    assert "what it said" in str(error)
