"""Results of a sweep's rows."""

import math
from dataclasses import replace

import pytest

from callwise.report.table import plain_table
from callwise.text_layout import Screen
from callwise.tuning.analysis import analyse, to_buy
from callwise.tuning.analysis_forms import (
    analysis_json,
    buy_sentence,
    legend_lines,
    settings_table,
    summary_text,
    verdict_table,
)
from callwise.tuning.quality_unit import unit_of
from callwise.tuning.row import Coverage, TurnRow
from tests.callwise.tuning.conftest import tune_row

CONVERSATIONS, TURNS = 8, 3


def _row(setting: str, conversation: int, turn: int, **fields: object) -> TurnRow:
    known: dict[str, object] = {
        "conversation": f"c{conversation}",
        "missing_usd": 0.0,
        "asked": 4,
        "requests": 4,
        "input_tokens": 100,
        "usd": 0.001,
        "reply_id": "0" * 16,
        "is_simulated": False,
        "asked_by_role": {"main": 3, "judge": 1},
        "asked_by_node": {"detection": 1, "lats_search": 3},
        "quality": 1.0 + conversation / 10 + turn / 100,
        "quality_by": "human:labels.csv",
    }
    return tune_row(setting, turn, **{**known, **fields})


def _rows(setting: str, **fields: object) -> list[TurnRow]:
    return [
        _row(setting, conversation, turn, **fields)
        for conversation in range(CONVERSATIONS)
        for turn in range(TURNS)
    ]


def _better(rows: list[TurnRow], by: float) -> list[TurnRow]:
    return [replace(row, quality=(row.quality or 0.0) + by) for row in rows]


def test_the_cheapest_of_equals_is_recommended() -> None:
    """A hair better is within the margin, so the cheap one is shown not worse."""
    rows = _better(_rows("dear", asked=9), 0.001) + _rows("cheap", asked=4)
    found = analyse(rows, scale_width=4.0)
    assert found.recommendation is not None
    assert (found.recommendation.chosen, found.recommendation.is_shown) == ("cheap", True)
    assert found.recommendation.saving is not None
    assert found.recommendation.saving.mean == 5.0
    assert found.front.front == ("cheap", "dear")
    assert (found.turns, found.conversations) == (24, 8)
    cheap = found.settings["cheap"]
    assert (cheap.asked.mean, cheap.mean_tokens) == (4.0, 110.0)
    assert cheap.mean_usd == pytest.approx(0.001)
    assert cheap.mean_by_node == {"detection": 1.0, "lats_search": 3.0}


def test_a_verdict_is_a_table_and_a_sentence_of_25_words() -> None:
    """The choice, its saving and loss with their units, the verdict, and what is still open."""
    rows = _better(_rows("dear", asked=9), 0.001) + _rows("cheap", asked=4)
    found = analyse(rows, unit=unit_of("human:labels.csv", (1.0, 5.0)))
    assert found.recommendation is not None
    table = verdict_table(found.recommendation)
    assert table.title == "Recommendation"
    assert table.rows == (
        ("recommended", "cheap"),
        ("saves", "5 calls per turn in every conversation"),
        ("quality difference", "-0.001 points (-0.001 to -0.001)"),
        ("compared with", "dear, the best seen"),
        ("verdict", "shown: at most 0.001 points below the best"),
        ("margin", "0.04 points, 1 % of the scale 1 to 5"),
        ("to settle it", "nothing: no cheaper setting is open"),
        ("from", "8 conversations, 24 turns, at 95 % confidence"),
    )
    assert summary_text(found).endswith(
        "cheap is the cheapest shown to be within 0.04 points of the best, at 95 % confidence; it "
        "saves 5 calls per turn.\n"
    )
    simulated = replace(found.recommendation, is_simulated=True)
    assert verdict_table(simulated).title == "Recommendation (simulated)"
    assert len(simulated.sentence().split()) <= 25
    open_one = replace(simulated, is_shown=False)
    assert len(open_one.sentence().split()) <= 25


@pytest.mark.parametrize(
    ("by", "column", "words"),
    [
        ("truth:simulated", "quality_sd", "within-prompt SD, scale -2 to 2"),
        ("referee:m:1b", "quality_marks", "marks, scale 1 to 10"),
        ("referee:m:pairwise", "quality_wins", "wins, scale 0 to 1"),
        ("human:labels.csv", "quality_points", "points"),
    ],
)
def test_a_quality_has_the_unit_of_its_source(by: str, column: str, words: str) -> None:
    """In the column's name, and with its scale below the table."""
    found = analyse(_rows("a", quality_by=by))
    assert settings_table(found).columns[2] == column
    assert legend_lines(found)[0] == f"quality: {words}, higher is better, by {by}"
    assert analysis_json(found)["quality_unit"]["short"] == found.unit.short


def test_a_sweeps_table_fits_a_terminal_of_80_columns_but_for_its_last_columns() -> None:
    """Setting, calls, quality, chance on the front and what is recorded come first."""
    dear = _rows("search.max_calls=11", asked=11, usd=None)
    table = settings_table(analyse([*_rows("search.max_calls=3", usd=None), *dear]))
    assert table.columns[:5] == ("setting", "calls", "quality_points", "on_front", "exact")
    assert [row[3] for row in table.rows] == ["100 %", "0 %"]
    assert [row[-1] for row in table.rows] == ["", ""]
    drawn = plain_table(table).splitlines()
    assert max(map(len, drawn)) <= 80


def test_the_best_setting_saves_nothing() -> None:
    """Nothing is compared with itself, and too few conversations have no table."""
    rows = _better(_rows("dear", asked=9), 0.5) + _rows("cheap", asked=4)
    found = analyse(rows, scale_width=4.0).recommendation
    assert found is not None
    table = verdict_table(found)
    assert [value for _, value in table.rows[:3]] == [
        "dear",
        "nothing: it is the best seen",
        "none",
    ]
    assert found.sentence().endswith("it is also the best seen.")
    few = analyse([row for row in rows if row.conversation == "c0"], scale_width=4.0)
    assert few.recommendation is not None
    assert verdict_table(few.recommendation).rows == (
        ("recommended", "none"),
        ("saves", "unknown"),
        ("quality difference", "unknown"),
        ("verdict", "none: 1 conversation with a known quality, and a verdict needs 5"),
        ("to settle it", "record 4 more conversations; more turns of the same do not help"),
    )
    assert "no setting can be recommended" in summary_text(few)


def test_a_better_setting_is_worth_its_calls() -> None:
    """When all turns say so, the cheaper one is shown to be worse."""
    rows = _better(_rows("dear", asked=9), 0.5) + _rows("cheap", asked=4)
    found = analyse(rows, scale_width=4.0)
    assert found.recommendation is not None
    assert found.recommendation.chosen == "dear"
    assert found.front.front == ("cheap", "dear")


def test_a_stand_in_is_an_estimate_whatever_its_own_score() -> None:
    """Its quality is that of other replies to the turn, and widens the interval."""
    exact = _better(_rows("dear", asked=9), 0.5)
    lucky = _rows(
        "cheap", coverage=Coverage.BOUNDED, diverged_at=3, is_reply_exact=False, quality=99.0
    )
    other = _rows("other", asked=5)
    found = analyse([*exact, *lucky, *other], scale_width=4.0)
    cheap = found.settings["cheap"]
    assert cheap.exact_replies == 0
    assert cheap.quality.mean is not None
    assert cheap.quality.mean < 3
    assert cheap.quality.estimated_share == 1.0
    sure = found.settings["other"].quality
    assert cheap.quality.high is not None
    assert cheap.quality.low is not None
    assert sure.high is not None
    assert sure.low is not None
    assert cheap.quality.high - cheap.quality.low > sure.high - sure.low


def test_what_is_mostly_an_estimate_is_not_compared() -> None:
    """Least known must not win: such a setting is off the front until it is bought."""
    lucky = [
        replace(row, is_reply_exact=False, coverage=Coverage.BOUNDED, diverged_at=2)
        for row in _rows("guess", asked=1)
    ]
    found = analyse([*_rows("a", asked=5), *_rows("b", asked=6), *lucky], scale_width=4.0)
    assert found.front.front == ("a",)
    assert found.recommendation is not None
    assert found.recommendation.chosen == "a"
    assert any("1 of 3 settings have fewer than 50%" in notice for notice in found.notices)


def test_without_quality_there_is_no_front_and_no_recommendation() -> None:
    """Counts are kept all the same, with a hint."""
    found = analyse([replace(row, quality=None, quality_by="") for row in _rows("only")])
    assert found.recommendation is None
    assert found.front.front == ()
    assert "referee" in found.front.why_empty
    assert found.settings["only"].asked.mean == 4.0
    assert "No front:" in summary_text(found)
    assert "quality: not judged" in summary_text(found)


def test_no_rows_say_nothing() -> None:
    """That is an error, not an empty table."""
    with pytest.raises(ValueError, match="no setting could run"):
        analyse([])


def test_a_narrow_terminal_keeps_calls_and_quality() -> None:
    """In 40 columns both wrap, and no line is wider."""
    rows = [replace(row, setting="search.max_calls=3") for row in _rows("a")]
    text = plain_table(settings_table(analyse(rows)), screen=Screen(40))
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("setting"))
    assert head.split()[1] == "calls"
    assert "quality" in text.partition("Not shown")[0]
    assert max(map(len, lines)) <= 40


def test_unknown_prices_stay_unknown() -> None:
    """One turn without a price makes the mean unknown, and so does one missing call."""
    rows = _rows("a")
    rows[0] = replace(rows[0], usd=None, missing_calls=2, missing_tokens=50, missing_usd=None)
    rows[1] = replace(rows[1], missing_calls=1, missing_tokens=25, missing_usd=0.5)
    found = analyse(rows)
    assert found.settings["a"].mean_usd is None
    lacking = to_buy(rows)
    assert (lacking.calls, lacking.turns, lacking.tokens, lacking.usd) == (3, 2, 75, None)
    assert buy_sentence(lacking).startswith("3 calls on 2 turns are not recorded: about 75 tokens")
    assert "USD unknown" in buy_sentence(lacking)
    assert "An estimate: " in buy_sentence(
        lacking
    )  # no limit: what is bought changes what is asked
    rows[2] = replace(rows[2], missing_calls=1, missing_tokens=None, missing_usd=0.1)
    assert to_buy(rows).tokens is None
    assert "an unknown number of tokens" in buy_sentence(to_buy(rows))
    rows[2] = replace(rows[2], missing_calls=0)
    assert "about USD 0.5000" in buy_sentence(to_buy(rows[1:]))
    assert "nothing has to be bought" in buy_sentence(to_buy(rows[2:]))


def test_the_cost_may_be_another_figure() -> None:
    """Rounds, say: then fewer rounds are cheaper, whatever the calls."""
    deep = _better(_rows("deep", asked=4, rounds_reply=7), 0.001)
    rows = _rows("wide", asked=9, rounds_reply=2) + deep
    found = analyse(rows, scale_width=4.0, cost="rounds_reply")
    assert found.recommendation is not None
    assert found.recommendation.chosen == "wide"
    table = verdict_table(found.recommendation)
    assert table.rows[1] == ("saves", "5 rounds to the reply in every conversation")


def test_the_document_has_plain_numbers_only() -> None:
    """Scripts read it: no NaN, nothing of numpy."""
    missing = _rows("plan", coverage=Coverage.MISSING, diverged_at=1, is_reply_exact=False)
    missing = [replace(row, quality=None, missing_calls=4) for row in missing]
    document = analysis_json(analyse([*_rows("a"), *missing], scale_width=4.0))
    assert document["settings"]["plan"]["missing"]["calls"] == 4 * 24
    assert any("the recording has none of" in notice for notice in document["notices"])

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        else:
            assert value is None or type(value) in {bool, int, float, str}
            assert not isinstance(value, float) or math.isfinite(value)

    walk(document)


def test_a_hostile_name_is_shown_as_text() -> None:
    """A terminal must not obey a setting's name."""
    found = analyse(_rows("a\x1b[31m\u202e"), scale_width=4.0)
    assert "\x1b" not in summary_text(found).partition("Front")[0]
