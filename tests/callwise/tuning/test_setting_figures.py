"""The figures of settings as numbers."""

from dataclasses import replace

import pytest

from callwise.tuning.analysis import analyse
from callwise.tuning.setting import make_setting
from callwise.tuning.setting_figures import SETTING_FIGURES, settings_frame
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

pytest.importorskip("pandas", reason="data frames need pandas")


def test_a_setting_is_a_line_of_numbers() -> None:
    """In the sweep's order, with the ends of the intervals, and missing where not known."""
    settings = [make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (6, 3)]
    results = ScriptedEvaluator(conversations=6).evaluate(settings)
    rows = [row for each in results for row in each.rows]

    frame = settings_frame(analyse(rows))

    assert list(frame.index) == [each.name for each in settings]
    assert frame.dtypes.astype(str).to_dict() == SETTING_FIGURES
    second = frame.loc[settings[1].name]
    assert second["calls_per_turn_low"] <= second["calls_per_turn"] <= second["calls_per_turn_high"]
    assert second["quality_low"] < second["quality"] < second["quality_high"]
    assert second["turns"] == 18

    unjudged = settings_frame(analyse([replace(row, quality=None, usd=None) for row in rows]))
    assert unjudged[["quality", "quality_low", "usd_per_turn"]].isna().all(axis=None)
    assert unjudged.dtypes.equals(frame.dtypes)
