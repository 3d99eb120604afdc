"""A cascade of two real models: confidence from the small one's probabilities, and its replay."""

import json

import pytest

from tests.model.conftest import choices_by_call, counted_in, rows_of, spent_in
from tests.model.programs import environment_reason, model_server

pytestmark = pytest.mark.model

CASCADE = {"kind": "cascade", "models": ["cut", "whole"], "confidence": 0.6}


@pytest.fixture(scope="module")
def whole_server():
    """Give the base URL of the whole model of 135 million parameters."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--slots", "2") as url:
        yield url


def test_a_cascade_of_real_models_is_replayed_strictly(
    command, behind, conversations, whole_server, capsys
):
    """Requests and tokens of each model are those that its server saw; a replay sends nothing."""
    cut, whole = behind(), behind(whole_server)
    command.use(cut.base_url)
    models = {
        "cut": {"base_url": cut.base_url, "model": "smollm2-cut"},
        "whole": {"base_url": whole.base_url, "model": "smollm2-135m"},
    }
    knobs = ("--set", f"models={json.dumps(models)}")
    knobs += ("--set", f"policies={json.dumps({'default': CASCADE})}")
    arguments = ("replay", conversations["en"], "-p", "frugal", "--max-turns", 2, *knobs)
    command(*arguments, "--out", "run", "--record", "calls.jsonl")
    rows = rows_of(command.folder / "run" / "ledger.jsonl")
    for name, proxy in (("cut", cut), ("whole", whole)):
        own = [row for row in rows if row["choice"]["model"] == name]
        assert counted_in(own) == spent_in(proxy.log)
    escalated = [row["choice"]["reason"] for row in rows if row["choice"].get("step")]
    with capsys.disabled():
        print(f"\n{len(cut.log)} asked, {len(escalated)} escalated: {escalated[:2]}")  # noqa: T201
    assert 0 < len(escalated) < len(cut.log)
    assert "no probabilities came" not in " ".join(escalated)
    seen = len(cut.log), len(whole.log)
    command(*arguments, "--out", "again", "--cassette", "calls.jsonl")
    assert (len(cut.log), len(whole.log)) == seen
    again = rows_of(command.folder / "again" / "ledger.jsonl")
    assert choices_by_call(again) == choices_by_call(rows)
