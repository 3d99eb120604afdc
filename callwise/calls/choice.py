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
        confidence: of a step of a cascade, what is compared with the policy's `confidence`, in
            [0, 1]. This and what follows is known once the answer is, and is in rows alone: a
            replay finds it again from the recorded answers.
        is_taken: whether a cascade or an ensemble has taken this answer.
        share_against: of the answer that an ensemble takes, the share of weight against it.
        spread: of the same, the mean range of its numbers.
    """

    policy: str
    table: str
    asked: str
    model: str
    reason: str = ""
    alternatives: tuple[str, ...] = ()
    step: int = 0
    confidence: float | None = None
    is_taken: bool = False
    share_against: float | None = None
    spread: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return its fields; those of no value are left out."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self._asdict().items()
            if value != self._field_defaults.get(name, "")
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
        for name in ("confidence", "share_against", "spread"):
            value = document.get(name)
            if value is not None and (type(value) not in (int, float) or not value >= 0):
                raise ValueError(f"the field choice.{name} cannot be {value!r:.60}")
        if type(document.get("is_taken", False)) is not bool:
            raise ValueError(f"the field choice.is_taken cannot be {document['is_taken']!r:.60}")
        texts = {name: document.get(name, "") for name in ("policy", "table", "asked", "model")}
        return cls(**{**document, **texts, "alternatives": tuple(alternatives)})


_MAX_STEP = 10**6
