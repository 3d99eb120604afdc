"""Routing between two real models: each request reaches the one that the row names."""

import json

import pytest

from tests.model.conftest import choices_by_call, counted_in, rows_of, spent_in
from tests.model.programs import environment_reason, model_server

pytestmark = pytest.mark.model

TABLE = {
    "kind": "route",
    "table": [{"model": "cut", "max_complexity": 0.72}, {"model": "whole"}],
    "complexity": {"task": 0, "messages": 0, "form": 0, "seconds": 0, "full_tokens": 1000},
}
CHEAP = {"input_usd_per_million": 1, "output_usd_per_million": 2}
DEAR = {"input_usd_per_million": 10, "output_usd_per_million": 20}


@pytest.fixture(scope="module")
def whole_server():
    """Give the base URL of the whole model of 135 million parameters."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--slots", "2") as url:
        yield url


def test_a_run_is_routed_by_complexity_and_replayed_strictly(
    command, behind, conversations, whole_server, capsys
):
    """Requests and tokens of each model are those that its server saw; a replay sends nothing."""
    cut, whole = behind(), behind(whole_server)
    command.use(cut.base_url)
    models = {
        "cut": {"base_url": cut.base_url, "model": "smollm2-cut", "prices": CHEAP},
        "whole": {"base_url": whole.base_url, "model": "smollm2-135m", "prices": DEAR},
    }
    knobs = ("--set", f"models={json.dumps(models)}")
    knobs += ("--set", f"policies={json.dumps({'default': TABLE})}")
    arguments = ("replay", conversations["en"], "-p", "frugal", "--max-turns", 2, *knobs)
    command(*arguments, "--out", "run", "--record", "calls.jsonl")
    rows = rows_of(command.folder / "run" / "ledger.jsonl")
    seen = {}
    for name, proxy in (("cut", cut), ("whole", whole)):
        own = [row for row in rows if row["choice"]["model"] == name]
        assert own
        assert counted_in(own) == spent_in(proxy.log)
        seen[name] = len(proxy.log)
    with capsys.disabled():
        print(f"\nrouted by complexity: {seen} requests; {rows[0]['choice']['reason']}")  # noqa: T201
    command(*arguments, "--out", "again", "--cassette", "calls.jsonl")
    assert {"cut": len(cut.log), "whole": len(whole.log)} == seen
    again = rows_of(command.folder / "again" / "ledger.jsonl")
    assert choices_by_call(again) == choices_by_call(rows)
    table = command("report", "run", "--table", "models", "-f", "csv").stdout
    assert "cut" in table
    assert "whole" in table
