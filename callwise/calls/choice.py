"""Record of the choice of a model: which policy chose it for a call, and why."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Choice"]


class Choice(NamedTuple):
    """One model's part in the answer of a question, as a policy has chosen it.

    It is written into the row and the recording of the call that asks this model. A strict replay
    takes it from there and decides nothing again.

    Args:
        policy: kind of the policy: `route`, `cascade` or `ensemble`.
        table: digest of the policy's settings, 16 hexadecimal digits.
        asked: key of the question as the endpoint of its role would be asked it, 64 digits.
        model: name of the model that is asked.
        reason: why this one, in a sentence.
        alternatives: each of the others, and why not it.
        step: place of this model in its policy's order of asking; starts at 0.
    """

    policy: str
    table: str
    asked: str
    model: str
    reason: str = ""
    alternatives: tuple[str, ...] = ()
    step: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return its fields; those of no value are left out."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self._asdict().items()
            if value not in ("", (), 0)
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Choice":
        """Return the choice in a JSON object.

        Raises:
            ValueError: when it has other fields, lacks one, or has values of another type; names
                them.
        """
        unknown = sorted(document.keys() - set(cls._fields))
        if unknown:
            raise ValueError(f"the field choice has no {', '.join(map(repr, unknown))}")
        for name in ("policy", "table", "asked", "model", "reason"):
            if not isinstance(document.get(name, ""), str):
                raise ValueError(  # noqa: TRY004 - the file is wrong, not the program
                    f"the field choice.{name} cannot be {document[name]!r:.60}"
                )
        alternatives, step = document.get("alternatives", []), document.get("step", 0)
        is_list = isinstance(alternatives, list)
        if not is_list or not all(isinstance(each, str) for each in alternatives):
            raise ValueError(f"the field choice.alternatives cannot be {alternatives!r:.60}")
        if type(step) is not int or not 0 <= step < _MAX_STEP:
            raise ValueError(f"the field choice.step cannot be {step!r:.60}")
        texts = {name: document.get(name, "") for name in ("policy", "table", "asked", "model")}
        return cls(**{**document, **texts, "alternatives": tuple(alternatives)})


_MAX_STEP = 10**6
