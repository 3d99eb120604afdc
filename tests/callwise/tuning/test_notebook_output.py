"""A figure in every form that a notebook's viewer may want."""

import base64
import json

from callwise.tuning.figures import calls_by_node_of, tradeoff_of
from callwise.tuning.notebook import row_of_trial
from callwise.tuning.notebook_output import VEGA_LITE_MIME, show

ROWS = [
    row_of_trial(
        f"search {calls}",
        f"prompt-{prompt}",
        calls=calls,
        rounds=2,
        quality=calls / 10,
        quality_by="truth",
    )
    for calls in (3, 6)
    for prompt in range(3)
]


def test_every_form_is_there_and_small() -> None:
    """The specification without its library, a picture, and words; the same bytes each time."""
    first, again = (show(tradeoff_of(ROWS))._repr_mimebundle_() for _ in range(2))
    assert first == again
    assert set(first) == {VEGA_LITE_MIME, "image/png", "text/plain"}
    assert base64.b64decode(first["image/png"]).startswith(b"\x89PNG")
    assert len(json.dumps(first)) < 100_000
    assert "hconcat" in first[VEGA_LITE_MIME]
    assert "imulated" in first["text/plain"]


def test_its_words_are_title_and_caption() -> None:
    """Where nothing can be drawn, the figure still has its title."""
    assert repr(show(calls_by_node_of(ROWS))).startswith(
        "Calls per turn by node. Means over 3 turns"
    )


def test_a_trial_is_a_row() -> None:
    """A prompt is a conversation of one turn, exact, and without tokens or a price."""
    row = ROWS[0]
    assert (row.conversation, row.turn, row.asked, row.mark) == ("prompt-0", 0, 3, "exact")
    assert row.usd is None
    assert row.is_simulated
