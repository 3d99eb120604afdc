"""Compare calls per turn of every preset, on the shipped conversations, with tests/baselines/.

Prints one verdict line for each preset, and below it the rises with places and causes. Exits
with 1 on drift, 2 when the two cannot be compared. Everything is simulated: nothing is sent.

    python .ci/gate.py                     all presets
    python .ci/gate.py classic frugal      those named
    python .ci/gate.py --update            write the baselines again, and list the changes
    python .ci/gate.py --set search.rollouts=6 classic      see the gate turn red
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from callwise.calls.call import Role
from callwise.calls.errors import CallwiseError
from callwise.recordings import Conversation, read_conversations
from callwise.recordings.app_protocol import App, load_app
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from callwise.testing.gate import Baseline, Gates, baseline_of_run, compare, finding_lines, verdict
from callwise.testing.gate.presenter import renew

ROOT = Path(__file__).resolve().parent.parent
APP = "graph.app:app"
BASELINES = Path("tests") / "baselines"
GATES = Gates(requests=0.0, rounds=0.0)
"""Calls, requests and rounds follow from code and knobs. Tokens move with every word of a
prompt, so they are shown in the diff of a baseline and not gated."""
SIMULATED = tuple(f"endpoints.{role}.kind=simulated" for role in Role)
"""Every role by name, so that an endpoint in the environment changes nothing."""


def run_of(
    app: App, preset: str, overrides: Sequence[str], conversations: Sequence[Conversation]
) -> Baseline:
    """Return the spending of a preset on the conversations."""
    with tempfile.TemporaryDirectory(prefix="callwise-gate-") as name:
        request = RunRequest(
            app=app,
            app_target=APP,
            settings=app.settings(preset, (*SIMULATED, *overrides)),
            conversations=conversations,
            folder=Path(name) / "run",
        )
        asyncio.run(run_replay(request))
        return baseline_of_run(request.folder)


def show(verdict_line: str, *lines: str) -> None:
    """Print a verdict and the lines below it, without waiting for the next preset."""
    sys.stdout.write("\n  ".join((verdict_line, *lines)) + "\n")
    sys.stdout.flush()


def checked(preset: str, current: Baseline, folder: Path, *, is_update: bool) -> bool:
    """Print one preset's verdict, and return whether it passed."""
    path = folder / f"{preset}.json"
    name = str(BASELINES / path.name)
    if is_update:
        renewed = renew(path, current, name=name)
        show(f"{preset}: {renewed.verdict}", *renewed.lines)
        return True
    drift = compare(Baseline.read(path), current, GATES)
    show(f"{preset}: {verdict(drift, name)}", *finding_lines(drift))
    return not drift.has_failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 without drift, 1 with it, 2 when nothing can be compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", help="which presets; all by default")
    parser.add_argument("--update", action="store_true", help="write the baselines again")
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", dest="knobs")
    parser.add_argument("--baselines", type=Path, default=ROOT / BASELINES)
    options = parser.parse_args(arguments)
    if options.update and options.knobs:
        parser.error("--update writes what the presets spend, so it takes no --set")
    try:
        app = load_app(APP)
        shipped = read_conversations([configs_folder() / "conversations"]).conversations
        passed = [
            checked(
                preset,
                run_of(app, preset, options.knobs, shipped),
                options.baselines,
                is_update=options.update,
            )
            for preset in options.presets or app.presets()
        ]
    except CallwiseError as error:
        sys.stderr.write(f"gate: {error}\n")
        return 2
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
