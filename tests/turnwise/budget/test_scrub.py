"""Keys are taken out of texts and errors."""

from turnwise.budget.scrub import Scrubber
from turnwise.calls.errors import ServerFailed

KEY = "a-very-secret-key-0123"


def test_a_key_is_taken_out_of_words_and_errors():
    """What is described or raised does not hold the key; other fields stay."""
    scrubber = Scrubber([KEY, ""])
    error = ServerFailed(f"bad {KEY} here", status=500)
    assert KEY not in scrubber.describe(error)
    scrubber.clean_error(error)
    assert KEY not in str(error)
    assert "here" in str(error)
    assert error.status == 500


def test_an_error_without_secrets_is_left_alone():
    """Arguments that are no strings are not touched."""
    error = ValueError("fine", 3)
    Scrubber([KEY]).clean_error(error)
    assert error.args == ("fine", 3)
    assert Scrubber().describe(KeyError()) == "KeyError"
