"""Writing a baseline anew says what that changes."""

from pathlib import Path

import pytest

from tests.turnwise.testing.gate.conftest import KNOBS, toy
from turnwise.calls.errors import ConfigError, FormatError
from turnwise.testing.gate import Baseline
from turnwise.testing.gate.renewing import renew


def test_a_first_baseline_is_made(tmp_path: Path) -> None:
    """A file that was not there is said to be made; the same again is unchanged."""
    path = tmp_path / "b.json"
    assert renew(path, toy(), name="b").verdict == "made: b, 4.3 calls a turn over 3 turns"
    again = renew(path, toy(), name="b")
    assert (again.has_changed, again.verdict.split(":")[0]) == (False, "unchanged")


def test_what_changes_is_said(tmp_path: Path) -> None:
    """Counts up and down, knobs and prompts."""
    path = tmp_path / "b.json"
    toy().write(path)
    now = toy({("one", 0): (2, 3)}, knobs={**KNOBS, "seed": 1}, prompts={"plan": "1" * 16})
    found = renew(path, now, name="b")
    assert found.lines == [
        "detection detect 1 -> 2 (+100 %) in 1 turn",
        "lats_search expand 4 -> 3 (-25 %) in 1 turn",
        "knob seed unset -> 1",
        "prompt plan changed",
    ]
    assert Baseline.read(path) == now


def test_other_figures_may_change_alone(tmp_path: Path) -> None:
    """More tokens and the same calls: said as that."""
    path = tmp_path / "b.json"
    toy().write(path)
    found = renew(path, toy(row={"input_tokens": 7}))
    assert found.has_changed
    assert found.lines == ["calls are as before; other figures or digests changed"]


@pytest.mark.parametrize(("fields", "said"), [({"preset": "other"}, "preset"), ({"app": "x"}, "x")])
def test_a_baseline_of_something_else_is_replaced_and_said(
    tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    """Another preset or app is meant, since it was asked for; it does not pass in silence."""
    path = tmp_path / "b.json"
    toy().write(path)
    (line,) = renew(path, toy(**fields)).lines
    assert said in line


def test_a_torn_baseline_is_made_anew(tmp_path: Path) -> None:
    """One that cannot be read any more is replaced, and that is said; a stranger is not."""
    path = tmp_path / "b.json"
    path.write_text(toy().text()[:-40])
    (line,) = renew(path, toy()).lines
    assert "cut off or edited" in line
    assert Baseline.read(path) == toy()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="no baseline"):
        renew(path, toy())
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (3, "<<<<<<< HEAD\n"),
        (2, "<<<<<<< ours\r\n"),
        (4, "=======\n"),
        (3, ">>>>>>> branch\n"),
        (2, "||||||| merged common ancestors\n"),
    ],
)
def test_a_merge_that_is_not_finished_is_not_written_over(tmp_path, line, text):
    """One side of it may be the only record of a change; the line of the first marker is named."""
    path = tmp_path / "b.json"
    renew(path, toy())
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_bytes("".join([*lines[: line - 1], text, *lines[line - 1 :]]).encode())
    before = path.read_bytes()
    with pytest.raises(FormatError, match="conflict markers") as caught:
        renew(path, toy())
    assert f":{line}" in str(caught.value)
    with pytest.raises(FormatError, match="conflict markers"):
        Baseline.read(path)
    assert path.read_bytes() == before
