"""The choices of models in a recording, by question: which model a policy has asked, and why.

A question is found by its key, by the digest of what decided, and by the place of the model in the
policy's order of asking. As for exchanges (see `cassette_index`), the scope that asks takes its
own choices first, in the order in which they were asked, and then the oldest of any scope.
A repair is asked by the choice of the call that it repairs, and has no other.
"""

from contextlib import suppress
from itertools import chain
from typing import Any

from callwise.calls.choice import Choice
from callwise.recordings.cassette_file import CassetteFile
from callwise.recordings.cassette_format import asked_of, split_head
from callwise.recordings.cassette_header import require_whole

__all__ = ["RecordedChoices"]

_MARK = b'"choice":{'
"""In each line that has a choice, and in few others."""

_Question = tuple[str, str, int]
"""Key of the question, digest of what decided, step."""


class RecordedChoices:
    """The choices of a recording as it was opened. Reads the whole file, once.

    Args:
        file: not owned. Damaged lines are left out: they are errors when they are played.
    """

    def __init__(self, file: CassetteFile) -> None:
        self._choices: dict[int, Choice] = {}
        self._by_scope: dict[tuple[_Question, bytes], list[int]] = {}
        self._by_question: dict[_Question, list[int]] = {}
        places: dict[int, tuple[int, int]] = {}
        lanes: dict[int, bytes] = {}
        repairs: dict[int, int] = {}
        least_repair: dict[str, int] = {}
        for entry in range(len(file.index)):
            with suppress(ValueError):
                line = file.line(entry)
                if _MARK not in line:
                    continue
                require_whole(line)
                fields = file.fields(entry)
                choice = Choice.from_json(fields["choice"])
                _, lanes[entry] = split_head(line)
                places[entry], repairs[entry] = asked_of(line), _repair_of(fields)
                least = least_repair.get(choice.asked, repairs[entry])
                least_repair[choice.asked] = min(least, repairs[entry])
                self._choices[entry] = choice
        for entry in sorted(self._choices, key=places.__getitem__):
            choice = self._choices[entry]
            if repairs[entry] == least_repair[choice.asked]:
                question = (choice.asked, choice.table, choice.step)
                self._by_scope.setdefault((question, lanes[entry]), []).append(entry)
                self._by_question.setdefault(question, []).append(entry)

    def take(
        self, asked: str, lane: bytes, *, table: str, step: int, taken: set[int]
    ) -> Choice | None:
        """Return the choice of a question, and add it to `taken`; None when none is left."""
        question = (asked, table, step)
        own, all_of_it = self._by_scope.get((question, lane), ()), self._by_question.get(question)
        for entry in chain(own, all_of_it or ()):
            if entry not in taken:
                taken.add(entry)
                return self._choices[entry]
        return None


def _repair_of(fields: dict[str, Any]) -> int:
    settings = fields.get("settings")
    found = settings.get("repair", 0) if isinstance(settings, dict) else 0
    return found if isinstance(found, int) else 0
