"""Gated figures and their tolerances."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from callwise.calls.errors import ConfigError

__all__ = ["GATE_NAMES", "Gates", "parse_gates"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Allowed worsening of each figure; None leaves a figure alone.

    A tolerance is relative, 0.05 for 5 %, and at least 0: no rise passes at 0. Calls,
    degradations, unreadable answers, requests and rounds are compared in every turn, calls of
    each node, role and purpose apart. Tokens, USD and quality are compared over all turns
    together, since one turn's move with every word of a prompt.

    Latency has no gate: a replayed call answers immediately, and the time that its
    recording took is another day's network.

    Args:
        degraded: nodes and roles that a turn continued without. Always gated.
        unreadable: answers that were not in the form that was asked for. Always gated.
        requests: HTTP requests, those that the recording paid in a replay.
        rounds: rounds until the reply, and until the turn's end.
        tokens: prompt and answer tokens together.
        quality: mean quality of the replies, which may not fall. Not relative: in the
            judge's own unit, whose 0 may be anywhere.
    """

    calls: float = 0.0
    degraded: float = 0.0
    unreadable: float = 0.0
    requests: float | None = None
    rounds: float | None = None
    tokens: float | None = None
    usd: float | None = None
    quality: float | None = None

    def __post_init__(self) -> None:
        """Check the tolerances.

        Raises:
            ConfigError: when one is negative or no number.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise ConfigError(
                    f"the gate {field.name}={value:g} cannot work: a tolerance is at least 0"
                )


GATE_NAMES = tuple(field.name for field in fields(Gates))
"""Figures that a gate may have a tolerance for."""


def _tolerance(name: str, text: str) -> float:
    number, percent = text.removesuffix("%").strip(), text.endswith("%")
    if name == "quality" and percent:
        raise ConfigError(
            f"the gate quality={text} cannot work: quality has no natural 0, so give the fall "
            "that is allowed in its own unit, such as quality=0.05"
        )
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(
            f"the gate {name}={text} cannot work: expected a share such as 5% or 0.05"
        ) from None
    if 1 < value < math.inf and not percent and name != "quality":
        raise ConfigError(
            f"the gate {name}={text} would allow a rise of {value * 100:g} %: a share above 1 is "
            f"written in per cent. Write {name}={number}% or {name}={value / 100:g}"
        )
    return value / 100 if percent else value


def parse_gates(texts: Iterable[str]) -> Gates:
    """Return gates from `name` or `name=tolerance`: `rounds`, `tokens=5%`, `usd=0.1`.

    A name alone allows nothing. The last of one name counts.

    Raises:
        ConfigError: for a figure that is not gated (names those that are), latency
            (with the reason), or a tolerance that is no number.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, tolerance = (part.strip() for part in text.partition("="))
        if name in {"latency", "seconds", "time", "wall_seconds", "path_seconds"}:
            raise ConfigError(
                f"{name} is not gated: a replayed call answers immediately, and the time that its "
                "recording took is another day's network. Gate rounds instead: they are the "
                "part of the waiting that the code decides"
            )
        if name not in GATE_NAMES:
            raise ConfigError(f"there is no gate {name!r}; there are: {', '.join(GATE_NAMES)}")
        found[name] = _tolerance(name, tolerance) if tolerance else 0.0
    return Gates(**found)
