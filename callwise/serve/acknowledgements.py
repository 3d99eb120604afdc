"""Numbers that clients have acknowledged, many of them stored in one transaction.

Invariant: the stored number of a client never exceeds one that it has acknowledged. A process that
is killed may forget what came in the last `poll_seconds` of its room, so the client is then sent
lines again that it has; it drops numbers that it has.
"""

import logging

from callwise.calls.errors import CallwiseError
from callwise.serve.messages import Refused
from callwise.wake.rooms import MAX_KEPT_CLIENTS, Rooms
from callwise.wake.wake_report import one_line

__all__ = ["Acknowledgements"]

_LOGGER = logging.getLogger(__name__)


class Acknowledgements:
    """The last number that each client of one room has acknowledged.

    Args:
        max_clients: most clients that are kept, and that may wait to be.

    Attributes:
        count: numbers that were taken.
    """

    def __init__(self, rooms: Rooms, room: str, *, max_clients: int = MAX_KEPT_CLIENTS) -> None:
        self._rooms, self._room, self._max_clients = rooms, room, max_clients
        self._waiting: dict[str, int] = {}
        self.count = 0

    def note(self, client: str, sequence: int, *, last: int) -> None:
        """Take a client's number; a lower one than before changes nothing.

        Args:
            client: its id; empty where it gave none.
            last: the highest number that it can have.

        Raises:
            Refused: when there is no id, the number is higher, or too many clients wait.
        """
        if not client:
            raise Refused("to acknowledge numbers, give `client` in the hello")
        if sequence > last:
            raise Refused(
                f"message {sequence} is acknowledged, and the chat's last is {last}. Acknowledge "
                "the last number that came"
            )
        if client not in self._waiting and len(self._waiting) >= self._max_clients:
            raise Refused("too many clients wait to be stored. Send it again later")
        self._waiting[client] = max(sequence, self._waiting.get(client, 0))
        self.count += 1

    def last_of(self, client: str) -> int:
        """Return the last number that a client has acknowledged; 0 for none.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        return max(self._rooms.acknowledged(client, self._room), self._waiting.get(client, 0))

    def store(self) -> None:
        """Store what has come; where that fails it is logged, and tried again the next time."""
        if not self._waiting:
            return
        try:
            self._rooms.acknowledge_all(self._room, self._waiting, max_clients=self._max_clients)
        except CallwiseError as error:
            _LOGGER.error("acknowledged numbers were not stored: %s", one_line(error, "a number"))  # noqa: TRY400
        else:
            self._waiting = {}
