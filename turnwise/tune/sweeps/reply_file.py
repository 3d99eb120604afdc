"""`replies.jsonl`: the text of each distinct reply of a sweep, once.

    {"reply_id": "9f1c...", "conversation": "talk", "turn": 3, "text": "Hm. Tell me more."}

Conversation and turn are those of the first row that has the reply. Texts are untrusted and
stay on disk: in memory is only where each one stands.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import orjson

from turnwise.calls.errors import FormatError
from turnwise.calls.payload import well_formed
from turnwise.tune.row import TurnRow
from turnwise.tune.sweeps.appended_file import AppendedFile

__all__ = ["ReplyFile", "ReplyText", "read_replies"]


@dataclass(frozen=True, slots=True)
class ReplyText:
    """One reply.

    Args:
        reply_id: digest of the text.
        conversation: of the first row that has it.
        turn: of that row. Starts at 0.
        text: untrusted.
    """

    reply_id: str
    conversation: str
    turn: int
    text: str


def read_replies(path: Path) -> Iterator[ReplyText]:
    """Yield the replies of a file, without holding or changing it.

    Args:
        path: one that does not exist has none; a last line that was not finished is left out.

    Raises:
        FormatError: for a line that ends and cannot be read; with its number.
    """
    for reply, _ in _lines(path):
        yield reply


def _lines(path: Path) -> Iterator[tuple[ReplyText, int]]:
    """Yield each reply and the bytes of its line, up to a line that was not finished."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _reply(path, number, line), len(line)


def _reply(path: Path, number: int | None, line: bytes) -> ReplyText:
    try:
        plain = orjson.loads(line)
        return ReplyText(
            reply_id=str(plain["reply_id"]),
            conversation=str(plain["conversation"]),
            turn=int(plain["turn"]),
            text=str(plain["text"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(path, number, "expected one reply text a line") from error


class ReplyFile:
    """The reply texts of a sweep; appended to, and put in order at the end.

    Args:
        path: the file; made when absent. A last line that was not finished is cut off.

    Raises:
        FormatError: for a line that ends and cannot be read; with its number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_byte: dict[str, int] = {}
        self._file = AppendedFile(path, self._scan())

    def _scan(self) -> int:
        """Note where each text stands, and return where the last whole line ends."""
        end = 0
        for reply, size in _lines(self.path):
            self._start_byte.setdefault(reply.reply_id, end)
            end += size
        return end

    @property
    def known(self) -> AbstractSet[str]:
        """Ids of the replies that stand here."""
        return self._start_byte.keys()

    def add(self, rows: Iterable[TurnRow], texts: Mapping[str, str]) -> int:
        """Write the texts that are new here, in one write, and return how many ids are known.

        Args:
            rows: of one setting; texts that none of them has are not kept.
            texts: by reply id.

        Raises:
            DiskFull: when there is no room; none of them counts as known then.
        """
        new: dict[str, bytes] = {}
        known: set[str] = set()
        for row in rows:
            reply_id = row.reply_id
            if reply_id in self._start_byte or reply_id in new:
                known.add(reply_id)
            elif reply_id in texts:
                known.add(reply_id)
                new[reply_id] = _line(row, texts[reply_id])
        start = self._file.end_byte
        self._file.append(b"".join(new.values()))
        for reply_id, line in new.items():
            self._start_byte[reply_id] = start
            start += len(line)
        return len(known)

    def text(self, reply_id: str) -> str | None:
        """Return a reply's text, or None where it was not kept."""
        if reply_id not in self._start_byte:
            return None
        with self.path.open("rb") as file:
            file.seek(self._start_byte[reply_id])
            return _reply(self.path, None, file.readline()).text

    def finish(self, rows: Iterable[TurnRow]) -> None:
        """Put the texts in the order of the rows, and drop those that no row has."""
        partial = self.path.with_name(f"{self.path.name}.part")
        placed: dict[str, int] = {}
        end = 0
        with self.path.open("rb") as old, partial.open("wb") as new:
            for row in rows:
                reply_id = row.reply_id
                if reply_id in placed or reply_id not in self._start_byte:
                    continue
                old.seek(self._start_byte[reply_id])
                line = _line(row, _reply(self.path, None, old.readline()).text)
                placed[reply_id] = end
                end += new.write(line)
        self._file.replace_by(partial)
        self._start_byte = placed

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        self._file.close()


def _line(row: TurnRow, text: str) -> bytes:
    plain = {
        "reply_id": row.reply_id,
        "conversation": row.conversation,
        "turn": row.turn,
        "text": well_formed(text),
    }
    return orjson.dumps(plain, option=orjson.OPT_APPEND_NEWLINE)
