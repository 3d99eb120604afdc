"""`callwise demo`: one turn of a shipped conversation, on one screen."""

import asyncio
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from callwise.calls.call import Role
from callwise.cli.options import AppOption, CommandOptions
from callwise.cli.terminal import clear_errors, print_text, say

if TYPE_CHECKING:
    from callwise.recordings.app_protocol import App
    from callwise.recordings.replay_run import FinishedRun
    from callwise.report.run_record import CallLine

__all__ = ["demo"]

DEMO_CONVERSATION = "en_moving_city.jsonl"
SEED = 101
"""Of the shipped pipeline: with it, the reply that wins the search takes up the message."""

WIDTH = 80
INDENT = "   "
CAP = 5
"""Most calls of the second turn."""

_ASCII = str.maketrans({"█": "#", "▒": "=", "├": "|", "└": "`", "│": "|", "─": "-", "…": "~"})
"""Characters of the screen for a terminal or a file without them."""

_ACCOUNTING = ("outcomes",)
"""Fields of a turn that count where answers came from; a replay differs in them alone."""


Part = tuple[str, Sequence[str]]
"""A title and the lines below it."""


class DemoOptions(CommandOptions):
    """Options of `callwise demo`."""

    app: AppOption = "graph.app:app"


def demo(options: DemoOptions) -> None:
    """Show one turn, its calls, its search, the turn under a cap, and its free replay.

    On the simulated model, in seconds; nothing is sent and nothing is kept.
    """
    with clear_errors(), tempfile.TemporaryDirectory(prefix="callwise-demo-") as name:
        for line in _lines(options, Path(name)):
            print_text(_writable(line, sys.stdout.encoding or "utf-8"))


def _writable(line: str, encoding: str) -> str:
    """Return a line that an encoding can write."""
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return line


def _lines(options: DemoOptions, folder: Path) -> Iterator[str]:
    """Yield the lines of the screen."""
    yield "One turn of a shipped conversation, answered by the simulated model: its calls"
    yield "are counted as a real model's would be; its words prove nothing about language."
    for number, (title, lines) in enumerate(_parts(options.app, folder), 1):
        yield from ("", f"{number}. {title}", *lines)


def _parts(target: str, folder: Path) -> Iterator[Part]:
    """Yield the parts of the screen; each run is made when its part is due."""
    from callwise.recordings.app_protocol import load_app
    from callwise.recordings.cassette import CassetteMode

    app = load_app(target)
    cassette = folder / "demo.cassette.jsonl"
    preset = getattr(app.settings(None, ()), "preset", "default")
    whole = _run(app, folder / "whole", cassette=cassette)
    turn = whole.turns[0]
    yield (
        f"A TURN ({DEMO_CONVERSATION}, preset {preset}, simulated)",
        [*_spoken("user", turn["user_text"]), *_spoken("reply", turn["reply"])],
    )
    yield _calls(whole)
    yield from _search(turn.get("search"))
    yield _cap(whole, _run(app, folder / "capped", f"budget.turn.max_calls={CAP}"))
    yield _replay(whole, _run(app, folder / "again", cassette=cassette, mode=CassetteMode.STRICT))
    yield (
        "NEXT, WITH AN ENDPOINT (Ollama's here; a key goes into CALLWISE_API_KEY)",
        [
            "   export CALLWISE_BASE_URL=http://127.0.0.1:11434/v1 CALLWISE_MODEL=llama3.2",
            "   callwise endpoints check",
            "   callwise replay talks.jsonl --out run && callwise report run --html run.html",
        ],
    )


def _run(app: "App", folder: Path, *overrides: str, **request: Any) -> "FinishedRun":
    """Return a run of the conversation's first turn, on the simulated model."""
    from callwise.recordings import read_conversations
    from callwise.recordings.conversation_files import first_turns
    from callwise.recordings.replay_run import RunRequest, run_replay
    from callwise.shipped import conversation_path

    # Every role by name: an endpoint in the environment serves roles that are left open.
    fixed = [f"endpoints.{role}.kind=simulated" for role in Role]
    fixed += [f"seed={SEED}"] if "seed" in app.settings_model().model_fields else []
    read = read_conversations([conversation_path(DEMO_CONVERSATION)])
    return asyncio.run(
        run_replay(
            RunRequest(
                app=app,
                app_target="",
                settings=app.settings(None, (*fixed, *overrides)),
                conversations=list(first_turns(read.conversations, 1)),
                folder=folder,
                **request,
            ),
            on_notice=say,
        )
    )


def _spoken(name: str, text: str) -> list[str]:
    """Return a name and a text after it, in at most three lines."""
    head = f"{INDENT}{name:7}"
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        max_lines=3,
        placeholder=" …",
    )


def _rows(run: "FinishedRun") -> "list[CallLine]":
    from callwise.report.run_record import CallLine

    return [CallLine.model_validate(row) for row in run.rows]


def _by_node(run: "FinishedRun") -> Counter[str]:
    """Return the calls that a limit did not refuse, by node."""
    return Counter(row.node or "-" for row in _rows(run) if not row.is_refused)


def _named(calls: Counter[str]) -> str:
    """Return a number of calls, and of each node."""
    count = calls.total()
    nodes = ", ".join(name if n == 1 else f"{name} {n}" for name, n in calls.items())
    return f"{count} {'call' if count == 1 else 'calls'}{': ' if nodes else ''}{nodes}"


def _calls(run: "FinishedRun") -> Part:
    from callwise.report.turn_text import timeline_lines

    turn, rows = run.turns[0], _rows(run)
    tokens = turn["input_tokens"] + turn["output_tokens"]
    title = f"ITS CALLS, {len(rows)} WITH {tokens:,} TOKENS"
    drawn = timeline_lines(rows, width=WIDTH - len(INDENT), unit="virtual seconds")
    if not drawn:  # a program that schedules its calls itself
        return title, [INDENT + _named(_by_node(run))]
    return f"{title} (a block per call, shades alternate)", [INDENT + line for line in drawn]


def _search(record: Mapping[str, Any] | None) -> Iterator[Part]:
    from callwise.report.search_view import read_search
    from callwise.report.turn_text import search_lines

    if not record:
        return
    view = read_search(record)
    lines = [INDENT + line for line in search_lines(view, width=WIDTH - len(INDENT))]
    for best in (node for node in view.nodes if node.is_best):
        score = "" if best.mean_score is None else f"{best.mean_score:.2f}. "
        lines += _spoken("* won:", f"{score}{best.reason or 'The judge gave no reason.'}")
    yield f"ITS SEARCH, {view.calls} OF THEM (the judge's scores, 0 to 1; - is unread)", lines


def _cap(whole: "FinishedRun", capped: "FinishedRun") -> Part:
    asked, cut = _by_node(capped), _by_node(whole) - _by_node(capped)
    return f"THE SAME TURN WITH AT MOST {CAP} CALLS (--set budget.turn.max_calls={CAP})", [
        *_spoken("asked", _named(asked)),
        *_spoken("cut", _named(cut)),
        *_spoken("reply", capped.turns[0]["reply"] or "none"),
    ]


def _replay(whole: "FinishedRun", again: "FinishedRun") -> Part:
    """Return the lines on a replay; a turn's record is compared as bytes."""
    first, second = (_answered(run.turns) for run in (whole, again))
    sent = sum(row.usage.sent for row in _rows(again))
    replayed = _named(_by_node(again)).partition(":")[0]
    is_equal = "yes" if first == second else "NO"
    line = f"{replayed} replayed, calls sent: {sent}; {len(first):,} bytes of the turn, equal: "
    return "THE REPLAY FROM ITS RECORDING, FREE", [f"{INDENT}{line}{is_equal}"]


def _answered(turns: Sequence[Mapping[str, Any]]) -> bytes:
    """Return turns as bytes, without the fields that count where answers came from."""
    return orjson.dumps(
        [{name: value for name, value in turn.items() if name not in _ACCOUNTING} for turn in turns]
    )
