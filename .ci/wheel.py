"""Build the wheel, install it into an empty environment, and run it from elsewhere."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command printed; exit with its output when it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603 - the commands are written below
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Check that the wheel does what a user tries first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT, cwd=folder)
        wheel = next((folder / "dist").glob("callwise-*.whl"))
        venv.create(folder / "empty", with_pip=True)
        python = folder / "empty" / "bin" / "python"
        run(
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("-c", ROOT / "constraints.txt", wheel),
            cwd=folder,
        )
        command = folder / "empty" / "bin" / "callwise"
        for own in ("graph.py", "nodes.py", "lats.py"):  # a user's, of the shipped names
            (folder / own).write_text("raise SystemExit('imported')\n", encoding="utf-8")
        run(python, "-m", "callwise", "plan", cwd=folder)
        run(python, "-c", "import callwise as cw; print(cw.plan())", cwd=folder)
        plan = json.loads(run(command, "plan", "--preset", "classic", "--json", cwd=folder))
        asked = plan["scenarios"]["default"]["asked"]
        if asked != 16:
            sys.exit(f"the installed wheel plans {asked} calls for classic, expected 16")
        run(command, "run", "hello", "--preset", "classic", cwd=folder)
        run(command, "notebooks", "mine", cwd=folder)
        example = "cw.example_path(), cw.example_module('simulated_pool').run_trials"
        run(python, "-c", f"import callwise as cw; print({example})", cwd=folder)
        print(f"{wheel.name}: installs, plans and runs in an empty environment")  # noqa: T201


if __name__ == "__main__":
    main()
