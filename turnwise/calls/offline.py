"""A client for runs that play a recording and send nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnwise.calls.call import Call
from turnwise.calls.errors import CallError, CassetteMiss
from turnwise.calls.reply import Reply

__all__ = ["OfflineClient"]


@dataclass(frozen=True, slots=True)
class OfflineClient:
    """A client that sends nothing and answers nothing."""

    is_simulated: bool = False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,  # noqa: ARG002 - nothing is sent
    ) -> Sequence[Reply | CallError]:
        """Return an error for every call."""
        return [CassetteMiss(f"offline: nothing is sent to {model}") for _ in calls]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""
