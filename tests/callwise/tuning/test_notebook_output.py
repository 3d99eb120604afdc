"""A figure in every form that a notebook's viewer may want."""

import base64
import json

import pytest
from langchain_core.language_models import FakeListChatModel

import callwise as cw
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


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_plan_wraps_to_the_screen(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line breaks are kept, and no line is wider than the screen."""
    monkeypatch.setenv("COLUMNS", columns)
    text = repr(show(cw.plan()))
    assert "\ufffd" not in text
    assert max(map(len, text.split("\n"))) <= int(columns)


def test_names_and_what_is_shown_already() -> None:
    """A line for each preset; a figure or text that is shown again is as it was."""
    shown = show(cw.presets())
    assert repr(shown).splitlines() == list(cw.presets())
    assert repr(show(shown)) == repr(shown)
    figure = show(tradeoff_of(ROWS))
    assert show(figure) is figure
    with pytest.raises(TypeError, match="a tuple cannot be shown"):
        show((1, 2))  # type: ignore[call-overload]


def test_a_budgeter_without_calls_says_so() -> None:
    """Instead of a table of zeros; and its console line has the singular."""
    with_one = cw.Budgeter.simulated()
    try:
        assert repr(show(with_one)) == "No calls yet."
        cw.wrap(FakeListChatModel(responses=["-"]), with_one).invoke("hello")
        assert repr(with_one).startswith("<Budgeter: 1 call asked")
        assert "input tokens" in repr(show(with_one))
    finally:
        with_one.close()
