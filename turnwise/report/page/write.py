"""A run's page, written to a file: whole or not at all, and over nothing but a page."""

import os
from dataclasses import dataclass
from pathlib import Path

from turnwise.calls.errors import ConfigError
from turnwise.report.page.comparing import compared_tables, pair
from turnwise.report.page.document import document_of
from turnwise.report.page.gathered import gather
from turnwise.report.page.overview import about_html, overview_html, simulated_html
from turnwise.report.page.packing import assembled, packed
from turnwise.report.page.shown_text import shown_html

__all__ = ["WrittenPage", "page_of", "write_page"]

_START = b"<!doctype html>"


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """What was written.

    Args:
        file: where it stands.
        size_bytes: how large it is.
        turns: how many turns it shows.
        paired_turns: how many of them have another beside them; None without another run.
        notices: what a person should know about the reading, in words.
    """

    file: Path
    size_bytes: int
    turns: int
    paired_turns: int | None
    notices: tuple[str, ...]


def page_of(folder: Path, against: Path | None = None) -> tuple[str, WrittenPage]:
    """Return the page of a run as HTML, and what there is to say of it; its file is `folder`'s.

    Args:
        folder: the run's folder.
        against: the folder of a run to hold beside it, or None.

    Raises:
        FormatError: when a folder is no run, or cannot be read.
        ConfigError: when no turn of the two runs pairs.
    """
    run = gather(folder)
    other = None if against is None else gather(against)
    pairing = None if other is None else pair(run, other)
    compared = [] if other is None or pairing is None else compared_tables(run, other, pairing)
    html = assembled(
        {
            "title": shown_html(f"{run.name} - turnwise report"),
            "simulated": simulated_html(run, other),
            "name": shown_html(run.name),
            "about": about_html(run, other),
            "overview": overview_html(run, other, pairing, compared),
            "data": packed(document_of(run, other, pairing)),
        }
    )
    notices = list(run.record.notices)
    if other is not None:
        notices += [f"{against}: {notice}" for notice in other.record.notices]
    paired = None if pairing is None else len(pairing.keys)
    written = WrittenPage(folder, len(html.encode("utf-8")), len(run.keys), paired, tuple(notices))
    return html, written


def _check_place(file: Path) -> None:
    """Refuse a place that cannot hold the page, or that holds something else."""
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent} to write {file.name} into; make it")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; name a file in it, such as {file / 'report.html'}")
    if not file.exists():
        return
    if not file.is_file():
        raise ConfigError(f"{file} is no plain file; name another")
    with file.open("rb") as stream:
        start = stream.read(len(_START))
    if start and start.lower() != _START:
        raise ConfigError(f"{file} exists and is no page; name another file, or remove it")


def write_page(folder: Path, file: Path, *, against: Path | None = None) -> WrittenPage:
    """Write the page of a run and return what was written.

    Args:
        folder: the run's folder.
        file: where to; an older page there is replaced in one step.
        against: the folder of a run to hold beside it, or None.

    Raises:
        FormatError: when a folder is no run, or cannot be read.
        ConfigError: when no turn of the two runs pairs, or the page cannot stand there.
        OSError: when the disk takes no more; what stood there before stands.
    """
    file = Path(file).resolve()
    _check_place(file)
    html, written = page_of(folder, against)
    part = file.parent / f".turnwise-{os.getpid()}.part"
    part.unlink(missing_ok=True)  # a link of this name would be followed
    try:
        with part.open("xb") as stream:
            stream.write(html.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return WrittenPage(
        file, written.size_bytes, written.turns, written.paired_turns, written.notices
    )
