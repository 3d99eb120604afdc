"""A baseline as a file: the same run gives the same bytes, and nonsense is refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.testing.gate import Baseline, CallGroup, compare
from callwise.testing.gate.comparison_forms import comparison_markdown
from callwise.testing.gate.run_figures import baseline_of_rows
from tests.callwise.testing.gate.conftest import rows_of, toy, turns_of


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Writing and reading gives an equal baseline, and no file is left next to it."""
    path = tmp_path / "new" / "toy.json"
    toy().write(path)
    assert Baseline.read(path) == toy()
    assert [item.name for item in path.parent.iterdir()] == ["toy.json"]


def test_the_order_of_a_run_does_not_matter() -> None:
    """A run made at another concurrency has other orders and the same bytes."""
    rows = rows_of(usd=0.1)
    turns = turns_of(rows)
    texts = set()
    for seed in range(5):
        shuffle = random.Random(seed).shuffle
        shuffle(rows)
        shuffle(turns)
        texts.add(baseline_of_rows(rows, turns, app="toy").text())
    assert len(texts) == 1


def test_a_turn_is_one_line_and_so_is_a_knob() -> None:
    """A diff of a baseline shows the turn, the knob or the prompt that changed, and no other."""
    before = toy().text().splitlines()
    now = toy({("one", 1): (1, 6)}).text().splitlines()
    assert len(before) == len(now)
    different = [line for line, other in zip(now, before, strict=True) if line != other]
    assert len(different) == 1
    assert different[0].startswith('{"conversation":"one","turn":1,"asked":{')
    assert '"lats_search/main/expand":6' in different[0]
    assert '"search.rollouts":4,' in before


def test_what_is_not_known_is_left_out_and_is_not_0() -> None:
    """Tokens and cost of which a part is unknown, and uncounted rounds, are None."""
    found = baseline_of_rows(rows_of(usd=None, unknown_usage=1), app="toy").turns[0]
    assert (found.usd, found.tokens, found.rounds_reply, found.quality) == (None,) * 4
    assert found.requests == 5
    free = baseline_of_rows(rows_of(usd=0.0), app="toy")
    assert free.turns[0].usd == 0.0
    assert '"usd":0' in free.text()


def test_what_went_well_is_left_out_and_an_older_baseline_reads_as_0(tmp_path: Path) -> None:
    """No unreadable answer and no degradation is the rule: only what differs is a diff."""
    path = tmp_path / "b.json"
    toy().write(path)
    assert "unreadable" not in path.read_text(encoding="utf-8")
    assert "degraded" not in path.read_text(encoding="utf-8")
    turns = Baseline.read(path).turns
    assert {(turn.unreadable, turn.degraded) for turn in turns} == {(0, 0)}
    poor = toy(row={"is_unreadable": True})
    poor.write(path)
    assert '"unreadable":5' in path.read_text(encoding="utf-8")
    assert Baseline.read(path) == poor


def test_a_baseline_of_the_earlier_name_is_read_and_written_over(tmp_path: Path) -> None:
    """The project was called Turnwise before; only the mark of the file differs."""
    path = tmp_path / "b.json"
    toy().write(path)
    path.write_text(path.read_text("utf-8").replace("callwise_", "turnwise_"), "utf-8")
    assert Baseline.read(path) == toy()
    toy().write(path)
    assert '"callwise_baseline"' in path.read_text("utf-8")


def test_turns_may_be_those_that_the_ledger_names() -> None:
    """Without turn lines the calls still find their turns; calls of no turn are apart."""
    rows = [*rows_of(), *rows_of({}, conversation=None, turn=None)[:2]]
    found = baseline_of_rows(rows, app="toy")
    assert [turn.key for turn in found.turns] == [("one", 0), ("one", 1), ("two", 0)]
    assert found.asked_outside == {"detection/fast/detect": 1, "lats_search/main/expand": 1}
    assert found.asked_count == len(rows)


@pytest.mark.parametrize(
    ("fields", "is_simulated", "is_replayed"),
    [
        ({"outcome": "served", "is_simulated": True}, True, False),
        ({"outcome": "served"}, False, False),
        ({"outcome": "replayed"}, False, True),
        ({"outcome": "replayed", "is_simulated": True}, True, True),
        ({"outcome": "refused"}, False, False),
        ({"outcome": "failed"}, False, False),
    ],
)
def test_the_rows_tell_what_kind_of_run_it_was(
    fields: dict[str, Any], *, is_simulated: bool, is_replayed: bool
) -> None:
    """Simulated, replayed, both, or live."""
    found = baseline_of_rows(rows_of(**fields), app="toy")
    assert (found.is_simulated, found.is_replayed) == (is_simulated, is_replayed)


def test_one_sent_call_makes_a_run_live() -> None:
    """A replay that had to send one call is no replay."""
    rows = rows_of()
    rows[3]["outcome"] = "served"
    assert not baseline_of_rows(rows, app="toy").is_exact


def test_rows_that_are_none_are_refused() -> None:
    """A row without a role, or a turn that is there twice, is an error with a reason."""
    with pytest.raises(ConfigError, match="role"):
        baseline_of_rows([{"conversation": "one"}], app="toy")
    turns = turns_of(rows_of())
    with pytest.raises(ConfigError, match="is there twice"):
        baseline_of_rows(rows_of(), [*turns, turns[0]], app="toy")


def _edited(path: Path, **changes: Any) -> Path:
    document = json.loads(toy().text()) | changes
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _with_turn(**changes: Any) -> list[Any]:
    turn = {"conversation": "one", "turn": 0, "asked": {"a/main/plan": 1}, "requests": 1}
    return [turn | changes]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"callwise_baseline": 2}, "format 2"),
        ({"callwise_baseline": True}, "format True"),
        ({"callwise_baseline": "1"}, "format '1'"),
        ({"app": 7}, "app"),
        ({"surprise": 1}, "surprise"),
        ({"turns": {}}, "turns"),
        ({"turns": [*_with_turn(), *_with_turn()]}, "is there twice"),
        ({"turns": _with_turn(asked={"a/main/plan": "4"})}, "asked"),
        ({"turns": _with_turn(asked={"a/main/plan": -1})}, "asked"),
        ({"turns": _with_turn(asked={"a/main/plan": 1.5})}, "asked"),
        ({"turns": _with_turn(asked={"plan": 1})}, "node/role/purpose"),
        ({"turns": _with_turn(turn=-1)}, "turn"),
        ({"turns": _with_turn(rounds_reply=float("nan"))}, "rounds_reply"),
        ({"turns": _with_turn(usd=-1.0)}, "usd"),
        ({"turns": _with_turn(cals=1)}, "cals"),
        ({"asked_outside": {"plan": 1}}, "node/role/purpose"),
        ({"asked_outside": {"a/main/plan": 0}}, "asked_outside"),
        ({"knobs": []}, "knobs"),
        ({"prompts": {"plan": 3}}, "prompts"),
    ],
)
def test_a_baseline_edited_to_nonsense_names_the_place(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Another version, a wrong type, a negative count, an unknown field: refused."""
    path = _edited(tmp_path / "toy.json", **changes)
    with pytest.raises(FormatError, match="--update") as error:
        Baseline.read(path)
    assert said in str(error.value)
    assert "toy.json" in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1]",
        b'"callwise_baseline"',
        b"\xff\xfe",
        b'{"callwise_baseline": 1, "callwise_baseline": 1}',
        b"[" * 100_000,
        b'{"app": "toy"}',
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, data: bytes) -> None:
    """Empty, torn, not UTF-8, a name given twice, nested without end: an error with the file."""
    path = tmp_path / "toy.json"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"toy\.json"):
        Baseline.read(path)


@settings(deadline=None, derandomize=True)
@given(cut=st.integers(min_value=0, max_value=len(toy().text().encode()) - 3))
def test_every_half_of_a_baseline_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Wherever a write was cut off, what is left is no baseline."""
    path = tmp_path_factory.getbasetemp() / "cut.json"
    path.write_bytes(toy().text().encode()[:cut])
    with pytest.raises(FormatError):
        Baseline.read(path)


def test_a_missing_baseline_names_the_command(tmp_path: Path) -> None:
    """A missing file is answered with the option that makes it."""
    with pytest.raises(ConfigError, match="--update"):
        Baseline.read(tmp_path / "none.json")


def test_something_else_is_not_overwritten(tmp_path: Path) -> None:
    """A file that never was a baseline is kept; one that is torn or old is one still."""
    thesis = tmp_path / "thesis.json"
    thesis.write_text('{"precious": true}')
    with pytest.raises(ConfigError, match="no baseline"):
        toy().write(thesis)
    assert thesis.read_text() == '{"precious": true}'
    for text in (toy().text()[:90], toy().text().replace(":1,", ":0,", 1)):
        thesis.write_text(text)
        toy().write(thesis)
        assert Baseline.read(thesis) == toy()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in its place is named by the error, and nothing is left behind."""
    (tmp_path / "toy.json").mkdir()
    with pytest.raises(ConfigError, match=r"toy\.json"):
        toy().write(tmp_path / "toy.json")
    with pytest.raises(FormatError, match=r"toy\.json"):
        Baseline.read(tmp_path / "toy.json")
    assert [item.name for item in tmp_path.iterdir()] == ["toy.json"]


def test_a_path_may_hold_slashes() -> None:
    """A node's name is whatever its graph calls it."""
    assert CallGroup.of("sub/graph/main/plan") == CallGroup("sub/graph", "main", "plan")
    assert str(CallGroup("sub/graph", "main", "plan")) == "sub/graph/main/plan"


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(deadline=None, derandomize=True)
@given(
    conversation=TEXT, node=TEXT.filter(bool), knob=st.none() | st.floats(allow_nan=False) | TEXT
)
def test_any_name_and_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, conversation: str, node: str, knob: Any
) -> None:
    """Ids, nodes and knobs of any text or number are read as they were written."""
    if isinstance(knob, float) and knob in {float("inf"), float("-inf")}:
        return
    rows = rows_of({}, conversation=conversation, node=node)[:3]
    found = baseline_of_rows(rows, app="toy", knobs={"a": {"b": knob}})
    path = tmp_path_factory.getbasetemp() / "any.json"
    found.write(path)
    assert Baseline.read(path) == found


def test_refused_calls_are_asked_and_are_no_calls_per_turn(tmp_path: Path) -> None:
    """A limit's refusals are gated as calls, kept in the file, and left out of the mean."""
    rows = rows_of()
    for row in rows[1:4]:
        row |= {"outcome": "refused", "attempts": 0, "requests": 0}
    found = baseline_of_rows(rows, turns_of(rows), app="toy.app:app", preset="toy")
    assert (found.asked_count, found.refused_count) == (13, 3)
    assert found.mean_calls_per_turn == 10 / 3
    found.write(tmp_path / "b.json")
    assert Baseline.read(tmp_path / "b.json") == found
    text = comparison_markdown(compare(found, found), "b.json")
    assert "| calls per turn | 3.3 | 3.3 |" in text
    assert "| refused calls | 3 | 3 |" in text
    assert "refused" not in toy().text()
