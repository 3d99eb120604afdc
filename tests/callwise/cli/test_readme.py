"""The README's commands, in the order of the page: each runs, and prints what is shown."""

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_WORDS = 900

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks() -> list[list[tuple[str, list[str]]]]:
    """Return the blocks of commands, each command with the lines that are shown after it."""
    blocks = []
    for block in _BLOCK.findall(PAGE):
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            elif line.strip():
                steps[-1][1].append(line)
        blocks.append(steps)
    return blocks


def _talks(folder: Path) -> None:
    """Write conversations as users of chat interfaces have them."""
    texts = ("I got the job, and now I am scared of it.", "It is in another city.")
    lines = []
    for number, text in enumerate(texts):
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "Oh!"}]
        lines.append(json.dumps({"id": f"talk-{number}", "messages": messages}))
    (folder / "talks.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_page_is_short() -> None:
    """Two screens: what it is, an example, three ways to begin, figures."""
    assert len(PAGE.split()) <= MAX_WORDS
    assert len(_blocks()) == 3


def test_the_commands_that_are_named_in_text_exist(cli) -> None:
    """Also those that no block runs."""
    for name in set(re.findall(r"`callwise (\w+)", PAGE)):
        assert cli(name, "--help").exit_code == 0, name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_every_command_runs(number: int, cli, serving, tmp_path: Path, monkeypatch) -> None:
    """In an empty folder; the endpoint is a server on this machine where the page sets one."""
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    _talks(tmp_path)
    for command, shown in _blocks()[number]:
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            assert {each.partition("=")[0] for each in words[1:]} <= {
                "CALLWISE_BASE_URL",
                "CALLWISE_MODEL",
            }
            serving()
            continue
        assert words[0] == "callwise"
        result = cli(*words[1:], stdin="y\n")
        assert result.exit_code == 0, f"{command}\n{result.output}"
        for line in shown:
            assert line in result.output.splitlines(), (
                f"{command}\nshows\n{line}\nand prints\n{result.output}"
            )
