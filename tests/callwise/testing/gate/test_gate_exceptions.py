"""Known flaky cases: they do not fail until their day is over, and then they do."""

from datetime import date
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.testing.gate import (
    GateException,
    Gates,
    Quarantine,
    compare,
    finding_lines,
    read_quarantine,
    verdict,
)
from tests.callwise.testing.gate.conftest import toy

LAST = date(2026, 12, 31)
FILE = """
- conversation: on*
  turn: 1
  node: lats_search
  reason: the judge ties here
  owner: sam
  until: 2026-12-31
"""


def _case(**fields: object) -> GateException:
    return GateException.model_validate(
        {"reason": "ties", "owner": "sam", "until": LAST.isoformat(), **fields}
    )


@pytest.mark.parametrize(
    ("case", "is_covered"),
    [
        (_case(conversation="one"), True),
        (_case(conversation="o*", turn=1), True),
        (_case(node="lats_*"), True),
        (_case(conversation="ONE"), False),
        (_case(conversation="one", turn=0), False),
        (_case(node="detection"), False),
    ],
)
def test_an_entry_covers_what_it_names(case: GateException, *, is_covered: bool) -> None:
    """Conversation and node are patterns, the turn is a number; all that stand must fit."""
    quarantine = Quarantine([case], today=LAST)
    found = compare(toy(), toy({("one", 1): (1, 5)}), quarantine=quarantine)
    assert found.has_failed != is_covered
    assert len(found.excepted) == is_covered


def test_what_no_entry_covers_still_fails() -> None:
    """One finding is held, the other shuts the gate."""
    quarantine = Quarantine([_case(node="detection")], today=LAST)
    found = compare(toy(), toy({("one", 1): (2, 5)}), quarantine=quarantine)
    assert (len(found.failures), len(found.excepted)) == (1, 1)
    assert found.has_failed


def test_an_entry_of_a_node_is_of_its_calls_only() -> None:
    """Rounds and tokens are of no node, and those of the whole run are covered by nothing."""
    gates = Gates(rounds=0.0, tokens=0.0)
    both = toy(), toy({("one", 1): (1, 5)})
    quarantine = Quarantine([_case(node="lats_search")], today=LAST)
    of_node = compare(*both, gates, quarantine=quarantine)
    assert len(of_node.failures) == 3
    of_turn = compare(*both, gates, quarantine=Quarantine([_case(turn=1)], today=LAST))
    assert [str(found.figure) for found in of_turn.failures] == ["tokens"]


def test_an_expired_entry_fails_and_names_its_owner() -> None:
    """The day after its last, also where nothing rose."""
    case = _case(conversation="one", turn=1)
    quarantine = Quarantine([case], today=date(2027, 1, 1))
    found = compare(toy(), toy(), quarantine=quarantine)
    assert found.has_failed
    assert verdict(found, "b").endswith("1 quarantine entry expired, against b")
    (line,) = finding_lines(found)
    assert "sam" in line
    assert "2026-12-31" in line
    assert "turn 1 of one" in line


def test_a_file_of_entries_is_read(tmp_path: Path) -> None:
    """YAML, or JSON that says the same; an empty file holds none."""
    yaml, as_json, empty = (tmp_path / name for name in ("q.yaml", "q.json", "e.yaml"))
    yaml.write_text(FILE)
    as_json.write_text(
        '[{"conversation": "on*", "turn": 1, "node": "lats_search", '
        '"reason": "the judge ties here", "owner": "sam", "until": "2026-12-31"}]'
    )
    empty.touch()
    (case,) = read_quarantine(yaml)
    assert (case.conversation, case.turn, case.until) == ("on*", 1, LAST)
    assert read_quarantine(as_json) == (case,)
    assert read_quarantine(empty) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE.replace("owner: sam", "ownr: sam"), "did you mean owner"),
        (FILE.replace("  owner: sam\n", ""), "owner: Field required"),
        (FILE.replace("owner: sam", "owner: ' '"), "owner"),
        (FILE.replace("  until: 2026-12-31\n", ""), "until: Field required"),
        (FILE.replace("2026-12-31", "2026-13-31"), "expected a day"),
        (FILE.replace("2026-12-31", "1798675200"), "expected a day"),
        (FILE.replace("2026-12-31", "next week"), "expected a day"),
        (FILE.replace("turn: 1", "turn: one"), "turn"),
        (FILE.replace("turn: 1", "turn: -1"), "turn"),
        (FILE.replace("turn: 1", "turn: 1\n  turn: 2"), "given twice"),
        ("- reason: r\n  owner: o\n  until: 2026-12-31\n", "switch the gate off"),
        ("- reason: r\n  node: '*'\n  owner: o\n  until: 2026-12-31\n", "switch the gate off"),
        ("owner: sam", "expected a list"),
        ("- sam", "entry 1"),
        ("[", "q.yaml"),
    ],
)
def test_a_file_that_is_none_names_the_entry(tmp_path: Path, text: str, said: str) -> None:
    """Unknown and missing fields, a day that is none, an entry for everything: refused."""
    path = tmp_path / "q.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"q\.yaml") as error:
        read_quarantine(path)
    assert said in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, no text, no JSON, a folder."""
    with pytest.raises(ConfigError, match="no quarantine file"):
        read_quarantine(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff")
    (tmp_path / "x.json").write_text("[1")
    for name in ("x.yaml", "x.json", "."):
        with pytest.raises(FormatError):
            read_quarantine(tmp_path / name)
