"""The page of results: each part replaces its section and leaves the others."""

import json

from benchmarks import pages
from benchmarks.figures import Figure, Measured
from benchmarks.load import __main__ as command


def test_each_part_has_a_module_with_a_measurement():
    """Every name of the list can be run."""
    for name in command.PARTS:
        path = command.RESULTS.parent / "load" / f"{name}.py"
        assert "def measure(" in path.read_text(encoding="utf-8"), name


def test_a_part_replaces_its_section_alone(tmp_path, monkeypatch, capsys):
    """Sections keep the order of the list, and figures say whether they reach their target."""
    shown = {"figure": "1"}

    class Part:
        @staticmethod
        def measure():
            return Measured("part", [Figure("seconds", shown["figure"], "<= 2", True, "a note")])

    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(pages.importlib, "import_module", lambda _: Part)
    command.main(["azure"])
    command.main(["limits"])
    shown["figure"] = "3"
    command.main(["azure"])
    page = (tmp_path / "load.md").read_text(encoding="utf-8")
    assert page.index(command.PARTS["limits"]) < page.index(command.PARTS["azure"])
    assert page.count("| seconds | 1 | <= 2 | yes |") == 1
    assert page.count("| seconds | 3 | <= 2 | yes |") == 1
    assert "- a note" in page
    assert "command python -m benchmarks.load azure" in page
    assert set(json.loads((tmp_path / "load.json").read_text())) == {"limits", "azure"}
    assert "seconds" in capsys.readouterr().out
