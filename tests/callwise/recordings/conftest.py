"""Files to read conversations from, and calls to record."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.budget.usage import Usage
from callwise.calls import (
    Call,
    CallKey,
    Message,
    Outcome,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    call_key,
)


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes records as JSON Lines into the test's folder."""

    def write(*records: Any, name: str = "talk.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (
            record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
            for record in records
        )
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def data_folder() -> Path:
    """Return the folder of recorded data; skip where it is absent."""
    root = Path(__file__).parents[3]
    folder = Path(os.environ.get("CALLWISE_DATA", root / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}; set CALLWISE_DATA")
    return folder


Asked = tuple[CallKey, Call, CallOrigin]


@pytest.fixture
def ask() -> Callable[..., Asked]:
    """Return a function that makes a call, its key and its place."""

    def make(
        text: str = "Hello.",
        *,
        scope: str = "run/conv:a/turn:0/node:detection",
        call: Call | None = None,
        purpose: Purpose = Purpose.DETECT,
        model: str = "tiny",
    ) -> Asked:
        messages = (Message("system", "Be kind."), Message("user", text))
        call = call or Call(Role.FAST, purpose, messages)
        parts = dict(part.split(":") for part in scope.split("/") if ":" in part)
        where = CallOrigin(
            scope=scope,
            conversation=parts.get("conv"),
            turn=parts.get("turn"),
            node=parts.get("node"),
            role=call.role,
            purpose=call.purpose,
            endpoint="local",
            model=model,
        )
        return call_key(call, endpoint="local", model=model), call, where

    return make


@pytest.fixture
def answer() -> Callable[..., RecordedExchange]:
    """Return a function that makes an exchange that was served."""

    def make(text: str = "Hi!") -> RecordedExchange:
        reply = Reply(text, usage=ReportedUsage(12, 3), model="tiny", latency_seconds=0.25)
        return RecordedExchange(
            Outcome.SERVED,
            reply,
            usage=Usage(
                attempts=2,
                requests=2,
                input_tokens=12,
                output_tokens=3,
                picodollars=10**8,
                unknown_usage=1,
                charged_tokens=40,
                charged_picodollars=2 * 10**8,
            ),
            latency_seconds=0.5,
        )

    return make
