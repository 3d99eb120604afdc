"""One score, and the id of a reply."""

import hashlib
import math

import pytest

from turnwise.tune.quality.scores import Score, in_order
from turnwise.tune.row import reply_id


@pytest.mark.parametrize("text", ["Hm.", " Hm.", "在", "half \ud83d emoji"])
def test_every_text_has_an_id_and_no_reply_has_none(text: str) -> None:
    """Half a character too, as a model may end in one."""
    assert len(reply_id(text)) == 16
    assert reply_id("") == ""


def test_an_id_is_sixteen_digits_of_sha256() -> None:
    """Nothing is trimmed: another byte is another reply."""
    assert reply_id("Hm.") == hashlib.sha256(b"Hm.").hexdigest()[:16]
    assert reply_id("Hm.") != reply_id("Hm. ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"scale_high": 1.0},
        {"scale_low": -math.inf},
        {"turn": -1},
        {"repeat": -1},
    ],
)
def test_a_score_that_nobody_could_use_is_refused(wrong: dict[str, float]) -> None:
    """A mean over such scores would be no number, or a lie."""
    fields = {"turn": 0, "value": 5.0, "scale_low": 1.0, "scale_high": 10.0, **wrong}
    with pytest.raises(ValueError, match="got"):
        Score(by="referee:m", conversation="talk", reply_id="a", **fields)  # type: ignore[arg-type]


def test_of_two_scores_with_one_key_the_later_stands() -> None:
    """A table that was appended to twice has the last word once."""
    old = Score("referee:m", "talk", 0, "a", 5.0, 1.0, 10.0)
    new = Score("referee:m", "talk", 0, "a", 6.0, 1.0, 10.0)
    other = Score("referee:m", "talk", 0, "a", 6.0, 1.0, 10.0, repeat=1)
    assert in_order([other, old, new]) == [new, other]
