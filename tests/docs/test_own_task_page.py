"""The page on tasks of one's own: the first program, which asks a model."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own-task.md").read_text(encoding="utf-8")
PROGRAM = re.compile(
    r"^```python\n(.*?)^```$\s*(?:^`python examples.*?\n\n)?(?:^```text\n(.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
SHOWN = [(code, output) for code, output in PROGRAM.findall(PAGE) if output]
WITH_A_MODEL = next(code for code, _ in PROGRAM.findall(PAGE) if "OpenAIClient(" in code)


def _run(code: str, folder: Path, **environ: str) -> str:
    program = folder / "program.py"
    program.write_text(code, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-X", "utf8", "-W", "error", str(program)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_there_are_programs_for_each_kind_of_task() -> None:
    """A verifier, steps, answers that are resumed, prices, many problems, a policy, own calls."""
    assert len(SHOWN) == 7


def test_the_first_program_is_fifteen_lines_below_its_imports() -> None:
    """Blank lines left out."""
    lines = [line for line in WITH_A_MODEL.splitlines() if line]
    assert PROGRAM.findall(PAGE)[0][0] == WITH_A_MODEL
    assert len([line for line in lines if not line.startswith(("import ", "from "))]) <= 15


class _Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that likes short slogans."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][-1]["content"]
        self.server.asked.append(text)  # type: ignore[attr-defined]
        if "Write 6" in text or "Write 4" in text:
            said = {"slogans": ["Bread.", "Bread and more", "Our daily bread, baked for you"]}
        else:
            said = {"scores": [10.0 - len(each) / 4 for each in re.findall(r"'([^']+)'", text)]}
        message = {"role": "assistant", "content": json.dumps(said)}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        body = json.dumps({"id": "1", "object": "chat.completion", "model": "m", **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Write no log."""


@pytest.fixture
def endpoint() -> Iterator[ThreadingHTTPServer]:
    """Return such an endpoint on this machine, which keeps what it was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_first_program_asks_a_model(endpoint: ThreadingHTTPServer, tmp_path: Path) -> None:
    """Its proposals and its judgements come over HTTP, and the best slogan is printed."""
    url = f"http://127.0.0.1:{endpoint.server_address[1]}/v1"
    said = _run(WITH_A_MODEL, tmp_path, CALLWISE_BASE_URL=url, CALLWISE_MODEL="m")
    assert said == "Bread.\n"
    asked = endpoint.asked  # type: ignore[attr-defined]
    assert 2 <= len(asked) <= 6
    assert any("Score each, 1 to 10" in text for text in asked)
