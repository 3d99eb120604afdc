"""Replies to judge, rows that have them, and referees with fakes behind them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from callwise.budget import RetryPolicy
from callwise.calls import Endpoint, Prices
from callwise.tuning.judge.items import HistoryLine, ReplyItem
from callwise.tuning.judge.referee import Referee, open_referee
from callwise.tuning.judge.scores import Score
from callwise.tuning.row import TurnRow
from tests.callwise.tuning.conftest import tune_row

ItemOf = Callable[..., ReplyItem]
RowOf = Callable[..., TurnRow]
ScoreOf = Callable[..., Score]
Opened = Callable[..., AbstractAsyncContextManager[Referee]]


@pytest.fixture
def item_of() -> ItemOf:
    """Return a maker of items."""

    def make(reply: str, turn: int = 0, conversation: str = "talk", **fields: Any) -> ReplyItem:
        known = {"user_text": f"What about {turn}?", "history": (HistoryLine("user", "Hi."),)}
        return ReplyItem(conversation=conversation, turn=turn, reply=reply, **{**known, **fields})

    return make


@pytest.fixture
def row_of() -> RowOf:
    """Return a maker of rows."""

    def make(setting: str, reply_id: str, turn: int = 0, **fields: Any) -> TurnRow:
        nothing = dict.fromkeys(("asked", "requests", "input_tokens", "output_tokens"), 0)
        unjudged = {"quality": None, "quality_by": ""}
        known: dict[str, Any] = {"conversation": "talk", **nothing, **unjudged}
        return tune_row(setting, turn, reply_id=reply_id, **{**known, **fields})

    return make


@pytest.fixture
def score_of() -> ScoreOf:
    """Return a maker of scores."""

    def make(by: str, reply_id: str, value: float, turn: int = 0, **fields: Any) -> Score:
        known: dict[str, Any] = {"conversation": "talk", "scale_low": 1.0, "scale_high": 10.0}
        return Score(by=by, turn=turn, reply_id=reply_id, value=value, **{**known, **fields})

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Return an opener of referees over a client; all of them share one recording."""

    def open_one(
        client: Any,
        *,
        model: str = "ref-1",
        prices: Prices | None = None,
        secrets: Sequence[str] = (),
        **options: Any,
    ) -> AbstractAsyncContextManager[Referee]:
        endpoint = Endpoint("ref", model, client, prices)
        return open_referee(
            endpoint,
            tmp_path / "referee.jsonl",
            retry=RetryPolicy(first_wait_seconds=0, max_wait_seconds=0),
            secrets=secrets,
            **options,
        )

    return open_one
