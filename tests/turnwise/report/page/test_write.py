"""A page on disk: whole or not at all, and over nothing but a page."""

from collections.abc import Callable
from pathlib import Path

import pytest

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.report.page import write_page

RunMaker = Callable[..., Path]


def test_an_older_page_is_replaced(make_run: RunMaker, tmp_path: Path) -> None:
    """A second page takes the place of the first, and nothing is left beside it."""
    file = tmp_path / "out" / "page.html"
    file.parent.mkdir()
    first = write_page(make_run("small", turns=[{}]), file)
    second = write_page(make_run("large", turns=[{}] * 3), file)
    assert (first.turns, second.turns) == (1, 3)
    assert file.stat().st_size == second.size_bytes
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_page_leaves_the_old_one(make_run: RunMaker, tmp_path: Path) -> None:
    """What cannot be made takes nothing away."""
    file = tmp_path / "page.html"
    write_page(make_run("good"), file)
    before = file.read_bytes()
    with pytest.raises(FormatError, match="no such folder"):
        write_page(tmp_path / "nowhere", file)
    with pytest.raises(FormatError, match="manifest"):
        write_page(tmp_path, file)
    with pytest.raises(FormatError, match="no such folder"):
        write_page(tmp_path / "good", file, against=tmp_path / "nowhere")
    assert file.read_bytes() == before


def test_other_files_are_never_overwritten(make_run: RunMaker, tmp_path: Path) -> None:
    """A run's own files, a folder, a device and a missing folder are errors that say so."""
    run = make_run()
    before = (run / "turns.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="is no page; name another file"):
        write_page(run, run / "turns.jsonl")
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        write_page(run, tmp_path)
    with pytest.raises(ConfigError, match="no plain file"):
        write_page(run, Path("/dev/null"))
    with pytest.raises(ConfigError, match="there is no folder"):
        write_page(run, tmp_path / "missing" / "page.html")
    assert (run / "turns.jsonl").read_bytes() == before


def test_a_run_that_was_killed_gives_a_page_and_a_notice(
    make_run: RunMaker, tmp_path: Path
) -> None:
    """A cut last line and the calls of an unfinished turn are left out and said."""
    run = make_run(turns=[{}, {}])
    turns = run / "turns.jsonl"
    turns.write_bytes(turns.read_bytes()[:-20])
    written = write_page(run, tmp_path / "page.html")
    assert written.turns == 1
    assert len(written.notices) == 2
    assert "the last line is cut off" in written.file.read_text(encoding="utf-8")
