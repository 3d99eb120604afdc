"""The seam: what an evaluator is given and gives back is plain, and travels."""

from typing import get_type_hints

import orjson
import pytest
from joblib import delayed
from joblib import hash as content_hash

from turnwise.testing.fake_evaluator import ScriptedEvaluator
from turnwise.tune.sweeps.chunk import evaluate_chunk
from turnwise.tune.sweeps.evaluating import Evaluator, SettingResult
from turnwise.tune.sweeps.row_json import row_as_json
from turnwise.tune.sweeps.setting import make_setting

SETTINGS = [make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (3, 6)]


def test_results_are_one_a_setting_and_do_not_depend_on_company() -> None:
    """So chunks may be of any size."""
    evaluator: Evaluator = ScriptedEvaluator()
    together = evaluator.evaluate(SETTINGS)
    assert together == [evaluator.evaluate([setting])[0] for setting in SETTINGS]
    assert [result.setting for result in together] == [setting.name for setting in SETTINGS]


def test_a_result_is_plain_data() -> None:
    """Rows are JSON, and so are replies; an error is a text."""
    (result,) = ScriptedEvaluator().evaluate(SETTINGS[:1])
    assert orjson.dumps([row_as_json(row) for row in result.rows])
    assert orjson.dumps(result.replies)
    assert {row.reply_id for row in result.rows} == result.replies.keys()
    assert get_type_hints(SettingResult)["error"] == str | None


@pytest.mark.parametrize("part", [ScriptedEvaluator(), *SETTINGS])
def test_what_is_sent_to_workers_can_be_sent(part: object) -> None:
    """Joblib sends a function with its arguments; hashing takes the same way."""
    call = delayed(evaluate_chunk)(ScriptedEvaluator(), SETTINGS, 1)
    assert content_hash((call, part)) == content_hash((call, part))
