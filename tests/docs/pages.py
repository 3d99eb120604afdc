"""The commands, programs and settings that a page of the documentation shows.

A block that cannot run here has its reason in a comment before it:

    <!-- not run: needs a real key -->

What a page's reader has already, such as the rows of a sweep, is made by a program in a comment
that begins with `<!-- run before:`; it is not shown. Such a program has `root`, the project's
folder, and `use_endpoint()`, which sets a simulated server as the endpoint. A comment
`<!-- needs: langchain -->` leaves the next block out where that package is missing. A program or a
file of settings whose first line is a comment with the name of a file is written to that file.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "Command", "blocks_of", "commands_of", "plain_blocks_of"]

ROOT = Path(__file__).resolve().parents[2]

PAGES = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        if not path.name.endswith(".zh.md")  # with the blocks of their originals, as a test checks
        and path.name != "cli.md"  # written from the commands themselves
    )
)

RUN = ("console", "sh", "bash", "python", "yaml")
"""Languages of blocks that are run or read; all others are shown only."""

_PART = re.compile(
    r"^<!-- not run: (?P<reason>[^\n]+?) -->$"
    r"|^<!-- needs: (?P<needs>\w+) -->$"
    r"|^<!-- run before:\n(?P<before>.*?)^-->$"
    r"|^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w-]+\.(?:py|yaml))\b")
_EXIT = re.compile(r"# exits with (\d)")
_VARIABLE = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page.

    Args:
        place: page and line, for a message.
        not_run: why it cannot run here; None where it can.
        shown: the output that the page shows below it.
    """

    place: str
    language: str
    text: str
    not_run: str | None = None
    shown: list[str] = field(default_factory=list)

    @property
    def file(self) -> str | None:
        """Return the name of the file that the block is, or None."""
        named = _FILE.match(self.text)
        return named[1] if named else None


@dataclass(frozen=True, slots=True)
class Command:
    """One command, without its variables, and the lines that are shown after it."""

    words: tuple[str, ...]
    variables: dict[str, str]
    exit_code: int
    shown: list[str]


def blocks_of(page: str) -> list[Block]:
    """Return a page's blocks in order; a comment counts for the block that follows it."""
    blocks: list[Block] = []
    text = (ROOT / page).read_text(encoding="utf-8")
    reason = None
    for part in _PART.finditer(text):
        place = f"{page}:{text.count(chr(10), 0, part.start()) + 1}"
        if part["reason"]:
            reason = part["reason"]
        elif part["needs"]:
            if importlib.util.find_spec(part["needs"]) is None:
                reason = f"{part['needs']} is not installed"
        elif part["before"] is not None:
            blocks.append(Block(place, "python", part["before"]))
        elif part["language"] in RUN:
            blocks.append(Block(place, part["language"], part["text"], reason))
            reason = None
        else:
            if part["language"] == "text" and blocks and reason is None:
                blocks[-1].shown.extend(part["text"].splitlines())
            reason = None
    return blocks


def plain_blocks_of(page: str) -> list[str]:
    """Return the texts of a page's blocks without a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [part["text"] for part in _PART.finditer(text) if part["language"] == ""]


def commands_of(block: Block) -> Iterator[Command]:
    """Yield the commands of a block, each with what is shown after it."""
    steps: list[tuple[str, list[str]]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "console" and line.startswith("$ "):
            steps.append((line.removeprefix("$ "), []))
        elif block.language == "console" and line.strip():
            steps[-1][1].append(line)
        elif block.language != "console" and line.strip() and not line.startswith("#"):
            steps.append((line, []))
    if steps:
        steps[-1][1].extend(block.shown)
    for text, shown in steps:
        words, variables = shlex.split(text, comments=True), {}
        is_export = words[0] == "export"
        for word in words[1:] if is_export else words:
            if not _VARIABLE.match(word):
                break
            name, _, value = word.partition("=")
            variables[name] = value
        rest = words[:1] if is_export else words[len(variables) :]
        ends = _EXIT.search(text)
        yield Command(tuple(rest), variables, int(ends[1]) if ends else 0, shown)
