"""`turnwise cassette`: what a recording of calls contains, and whether it is whole."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from turnwise.cli.exits import EXIT_FAILED, clear_errors, printable
from turnwise.cli.options import JsonOption

__all__ = ["cassette"]


def cassette(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of calls.")],
    seal: Annotated[
        bool,
        typer.Option(
            "--seal", help="Give every line a fresh checksum, after you changed it on purpose."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every line of a recording, and name those that are damaged.

    Ends with 1 where a line is damaged. After a change on purpose, `--seal` makes the file
    whole again; a recording of an older version becomes one of the present version.

    turnwise cassette talk.cassette.jsonl

    turnwise cassette talk.cassette.jsonl --seal
    """
    with clear_errors():
        from dataclasses import asdict

        import orjson

        from turnwise.calls.errors import ConfigError
        from turnwise.replay.cassette_inspection import seal_cassette, survey_cassette

        if seal:
            try:
                seal_cassette(file)
            except OSError as error:
                raise ConfigError(f"cannot seal {file}: {error.strerror or error}") from error
        found = survey_cassette(file)
        if as_json:
            sys.stdout.write(orjson.dumps(asdict(found)).decode() + "\n")
        else:
            sums = "with checksums" if found.is_sealed else "without checksums (version 1)"
            lines = [f"{found.exchanges:,} calls, {sums}"]
            if found.normalise:
                lines.append(f"keys leave out: {', '.join(found.normalise)}")
            if found.recovered_bytes:
                lines.append(f"a broken last line of {found.recovered_bytes:,} bytes is left out")
            lines += found.damaged
            if found.damaged_count > len(found.damaged):
                lines.append(f"{found.damaged_count - len(found.damaged):,} more damaged lines")
            sys.stdout.write(printable("\n".join(lines)) + "\n")
        if found.damaged_count:
            raise typer.Exit(EXIT_FAILED)
