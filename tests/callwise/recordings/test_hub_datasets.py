"""Data sets of the Hugging Face Hub: which files are asked for, and which errors are shown."""

from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.recordings.conversation_files import read_conversations
from callwise.recordings.hub_datasets import downloaded

LINE = '{"conversation_id": "a", "turn": 0, "user_text": "q"}\n'


def cached(home: Path) -> Path:
    """Return a cache in which the library finds a data set without a network."""
    at = home / "datasets--own--talks"
    files = at / "snapshots" / "0a1b" / "data"
    files.mkdir(parents=True)
    (files / "train-00000.jsonl").write_text(LINE, encoding="utf-8")
    (files / "test-00000.jsonl").write_text(LINE, encoding="utf-8")
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text("0a1b", encoding="utf-8")
    return home


def test_a_data_set_is_read_from_what_the_library_downloaded(tmp_path: Path) -> None:
    """With the library itself, from its cache: a pattern chooses files."""
    library = pytest.importorskip("huggingface_hub", reason="needs the extra `datasets`")

    def offline(name: str, **options: Any) -> str:
        return str(
            library.snapshot_download(
                name, cache_dir=cached(tmp_path), local_files_only=True, **options
            )
        )

    path = downloaded("own/talks:data/train-*.jsonl", download=offline)
    [conversation] = read_conversations([path]).conversations
    assert conversation.conversation_id == "a"


def test_only_files_of_conversations_are_asked_for(tmp_path: Path) -> None:
    """No script of a data set is fetched."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(tmp_path)

    assert downloaded("own/talks", download=download) == str(tmp_path)
    [(name, options)] = asked
    assert (name, options["repo_type"]) == ("own/talks", "dataset")
    assert {"*.parquet", "*.jsonl"} <= set(options["allow_patterns"])
    assert not any(pattern.endswith("py") for pattern in options["allow_patterns"])


@pytest.mark.parametrize(
    "name", ["talks", "own/talks/more", "../../etc/x", "own/..", "own/talks:", "own/talks:../x", ""]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Before anything is asked of a server."""
    with pytest.raises(ConfigError, match="expected a data set of the Hub, as OWNER/NAME"):
        downloaded(name, download=lambda *_, **__: pytest.fail("asked"))


def test_a_failed_download_is_one_sentence() -> None:
    """The library's errors have several lines, and are no errors of the user's files."""

    def download(*_: object, **__: object) -> str:
        raise OSError("401 Client Error.\n\nAccess to data set own/talks is restricted.")

    with pytest.raises(ConfigError, match=r"restricted\.?\. A data set that asks") as caught:
        downloaded("own/talks", download=download)
    assert "\n" not in str(caught.value)
