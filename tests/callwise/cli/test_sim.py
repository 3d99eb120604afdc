"""`callwise sim serve`: the simulated model for other processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]", Path]]:
    """Run the server in a separate process on a free port; yield URL, process and log."""
    log = tmp_path / "requests.jsonl"
    command = "from callwise.cli.main import main; main()"
    arguments = ["sim", "serve", "--port", "0", "--log", str(log), "--set", "seed=7"]
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", command, *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().strip()
            assert url.startswith("http://127.0.0.1:"), url
            yield url, process, log
        finally:
            process.terminate()


def test_an_openai_client_is_answered_and_logged(
    served: tuple[str, "subprocess.Popen[str]", Path],
) -> None:
    """A plain client gets chat and embeddings, each a line of the log; Ctrl-C ends with 130."""
    url, process, log = served
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "Hello."}]
        )
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert answer.usage.total_tokens > 0
        vectors = client.embeddings.create(model="any", input=["one", "two"])
        assert len(vectors.data) == 2
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["path"] for line in lines] == ["/v1/chat/completions", "/v1/embeddings"]
    assert {line["status"] for line in lines} == {200}
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130


def test_a_wrong_setting_is_named(cli: Any) -> None:
    """An unknown or impossible setting of the simulator ends with 2 before it listens."""
    shown = cli("sim", "serve", "--set", "error_rate_42=0.1")
    assert shown.exit_code == 2
    assert "error_rate_429" in shown.stderr
    assert cli("sim", "serve", "--set", "error_rate_429=2").exit_code == 2
    both = ("--set", "error_rate_429=0.7", "--set", "error_rate_500=0.7")
    assert cli("sim", "serve", *both).exit_code == 2


def test_a_port_in_use_is_an_error(cli: Any, serving: Any) -> None:
    """Two servers on one port: the second one says so and ends."""
    port = serving().origin.rpartition(":")[2]
    shown = cli("sim", "serve", "--port", port)
    assert shown.exit_code == 1
    assert port in shown.stderr
