"""Keys are taken out of texts and errors."""

import traceback

from callwise.budget.redactor import Redactor
from callwise.calls.errors import ServerFailed

KEY = "a-very-secret-key-0123"


def test_a_key_is_taken_out_of_words_and_errors():
    """A described or raised error does not contain the key; other fields stay."""
    redactor = Redactor([KEY, ""])
    error = ServerFailed(f"bad {KEY} here", status=500)
    assert KEY not in redactor.describe(error)
    redactor.clean_error(error)
    assert KEY not in str(error)
    assert "here" in str(error)
    assert error.status == 500


def test_an_error_without_secrets_is_left_alone():
    """Arguments that are no strings are not touched."""
    error = ValueError("fine", 3)
    Redactor([KEY]).clean_error(error)
    assert error.args == ("fine", 3)
    assert Redactor().describe(KeyError()) == "KeyError"


def chained():
    """Return an error that was raised from another while a third was handled, with notes."""
    try:
        try:
            raise KeyError({"authorization": KEY})  # noqa: TRY301 - the context of what follows
        except KeyError as first:
            first.add_note(f"sent {KEY}")
            raise ServerFailed(f"bad {KEY[:12]}", status=500) from OSError(5, f"to {KEY}")
    except ServerFailed as error:
        error.add_note(f"key {KEY}")
        return error


def test_a_traceback_shows_no_key():
    """Not in a cause, not in a note, not in what was being handled."""
    error = ExceptionGroup("group", [chained()])
    redactor = Redactor([KEY])
    for each in (chained(), error):
        assert KEY[:12] in "".join(traceback.format_exception(each))
        redactor.clean_error(each)
        shown = "".join(traceback.format_exception(each))
        assert KEY[:10] not in shown
        assert "bad" in shown


class Stubborn(Exception):
    """An error that makes its text of something hidden."""

    def __str__(self):
        return f"always {KEY}"


def test_a_cause_that_keeps_a_key_is_cut_off():
    """Its text cannot be changed, so it goes."""
    error = ServerFailed("fine", status=500)
    error.__cause__ = Stubborn()
    error.__context__ = error.__cause__
    Redactor([KEY]).clean_error(error)
    assert KEY not in "".join(traceback.format_exception(error))


def test_a_circle_of_causes_ends():
    """Two errors may name each other."""
    one, two = ValueError(KEY), ValueError(KEY)
    one.__cause__, two.__cause__ = two, one
    Redactor([KEY]).clean_error(one)
    assert KEY not in str(one) + str(two)
