"""Folders of strangers with links in them: what is written stays in the folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

TALK = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
OWN = "my own line\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a file of the user's outside of the working directory."""
    file = tmp_path.parent / f"{tmp_path.name}-own.txt"
    file.write_text(OWN)
    return file


def replayed(cli: Any, *options: str) -> Any:
    """Return what `replay` into the folder `run` ended with."""
    Path("talk.jsonl").write_text(json.dumps(TALK) + "\n")
    return cli("replay", "talk.jsonl", "-p", "instant", "--out", "run", *options)


NAMES = ["ledger.jsonl.part", "turns.jsonl.part", "manifest.json.part", "turns.jsonl", ".lock"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [(), ("--fresh",)])
def test_a_run_that_goes_on_writes_through_no_link(
    cli: Any, own: Path, name: str, options: tuple[str, ...]
) -> None:
    """An archive keeps links, and one of a partial file's name would be written over."""
    assert replayed(cli).exit_code == 0
    link = Path("run", name)
    link.unlink(missing_ok=True)
    link.symlink_to(own)
    result = replayed(cli, *options)
    assert result.exit_code == 2
    assert f"{link} is a link" in result.stderr
    assert own.read_text() == OWN
    link.unlink()


def test_a_link_to_nothing_makes_no_file(cli: Any, own: Path) -> None:
    """A name that leads outside is refused, whether a file is there or not."""
    own.unlink()
    Path("run").mkdir()
    Path("run/cassette.jsonl").symlink_to(own)
    assert replayed(cli).exit_code == 2
    assert not own.exists()


@pytest.mark.parametrize(
    "name", ["sweep.sqlite", "sweep.sqlite-journal", "rows.csv.part", "summary.json", "figures"]
)
def test_a_sweep_writes_through_no_link(cli: Any, own: Path, name: str) -> None:
    """Nor does one that starts over delete by one."""
    assert replayed(cli).exit_code == 0
    tune = ("tune", "run", "--knob", "search.max_calls=3", "--out", "sweep", "--jobs", "1")
    assert cli(*tune).exit_code == 0
    link = Path("sweep", name)
    link.unlink(missing_ok=True)
    link.symlink_to(own)
    for options in ((), ("--fresh",)):
        result = cli(*tune, *options)
        assert result.exit_code == 2
        assert f"{link} is a link" in result.stderr
        assert own.read_text() == OWN


def test_a_chat_folder_is_not_written_through_a_link(cli: Any, own: Path) -> None:
    """Its memory could be another program's data base."""
    Path("home").mkdir()
    Path("home/memory.sqlite").symlink_to(own)
    result = cli("chat", "--home", "home", stdin="hello\n")
    assert result.exit_code == 2
    assert "home/memory.sqlite is a link" in result.stderr
    assert own.read_text() == OWN


def test_sealing_writes_through_no_link(cli: Any, own: Path) -> None:
    """The cassette is the user's to name, and its partial file is not a stranger's to place."""
    assert replayed(cli).exit_code == 0
    Path("run/cassette.jsonl.part").symlink_to(own)
    assert cli("cassette", "run/cassette.jsonl", "--seal").exit_code == 0
    assert own.read_text() == OWN


def test_a_page_and_a_baseline_are_written_through_no_link(cli: Any, own: Path) -> None:
    """Their partial files have the process's number, of which a stranger can place many."""
    assert replayed(cli).exit_code == 0
    for name in (f".callwise-{os.getpid()}.part", f".calls.json.{os.getpid()}.part"):
        Path(name).symlink_to(own)
    assert cli("report", "run", "--html", "page.html").exit_code == 0
    assert cli("check", "run", "--baseline", "calls.json", "--update").exit_code == 0
    assert own.read_text() == OWN
    assert Path("page.html").is_file()


def test_a_folder_that_is_a_link_is_the_users_choice(cli: Any) -> None:
    """The name is given by the user, who means the folder that it leads to."""
    Path("disk").mkdir()
    Path("run").symlink_to("disk", target_is_directory=True)
    assert replayed(cli).exit_code == 0
    assert Path("disk/turns.jsonl").is_file()
