"""The keys under which a recording may have a call.

A recording's keys are made of calls as its normaliser leaves them. The name of an endpoint
is part of a key, and without settings it is its host and port: a recording that was made
at another address of the same model would never answer. So where an endpoint's name is
nowhere in a recording, the names that it has for this model are tried, those that served
the same role first.
"""

from collections.abc import Iterator

from turnwise.budget.recorder import Where
from turnwise.calls.call import Call
from turnwise.calls.key import CallKey, call_key
from turnwise.replay.cassette_file import CassetteFile
from turnwise.replay.normalising import Normaliser

__all__ = ["CassetteKeys"]

_Served = tuple[str, str, str]
"""Role, endpoint and model."""


class CassetteKeys:
    """The keys of calls in one recording.

    Args:
        file: the recording. Not owned.
        normaliser: what its keys leave out.
    """

    def __init__(self, file: CassetteFile, normaliser: Normaliser) -> None:
        self._file = file
        self.normaliser = normaliser
        self._served: tuple[_Served, ...] | None = None
        self.moved: dict[str, str] = {}
        """Names of endpoints whose calls were found under another name, and that name."""

    def own(self, key: CallKey, call: Call, where: Where) -> CallKey:
        """Return the key under which a call is recorded."""
        if not self.normaliser:
            return key
        return call_key(self.normaliser.call(call), endpoint=where.endpoint, model=where.model)

    def all(self, key: CallKey, call: Call, where: Where) -> Iterator[bytes]:
        """Return the keys under which a call may be found, its own first."""
        yield bytes.fromhex(self.own(key, call, where))
        for endpoint in self._others(where):
            other = call_key(self.normaliser.call(call), endpoint=endpoint, model=where.model)
            found = bytes.fromhex(other)
            if self._file.index.knows(found):
                self.moved[where.endpoint] = endpoint
                yield found

    def _others(self, where: Where) -> list[str]:
        """Return the recorded names of a model's endpoints, where its own is not recorded."""
        if self._served is None:
            self._served = self._read_served()
        if any(endpoint == where.endpoint for _, endpoint, _ in self._served):
            return []
        of_model = [each for each in self._served if each[2] == where.model]
        same_role = [endpoint for role, endpoint, _ in of_model if role == where.role.value]
        return list(dict.fromkeys([*same_role, *(endpoint for _, endpoint, _ in of_model)]))

    def _read_served(self) -> tuple[_Served, ...]:
        """Return who served the recorded calls, by name. Reads the whole file, once."""
        found: dict[_Served, None] = {}
        for entry in range(len(self._file.index)):
            try:
                fields = self._file.fields(entry)
            except ValueError:
                continue  # a damaged line, which is an error when it is played
            found[
                str(fields.get("role")), str(fields.get("endpoint")), str(fields.get("model"))
            ] = None
        return tuple(sorted(found))
