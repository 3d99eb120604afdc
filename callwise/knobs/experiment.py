"""Experiments: settings that are split between arms by a stable hash, and staged rollouts.

A unit (a conversation or a user) is given its arm by a hash of the experiment's salt, its name and
the unit, so that every process, machine and version of Python gives the same one, and nothing has
to be kept. The arms divide the line from 0 to 1 in the order of their names; in a rollout the new
arm comes first, so that a larger share keeps every unit that it has.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.payload import well_formed_id
from callwise.knobs.gates import GATE_NAMES, Gates

__all__ = [
    "ArmKnobs",
    "ExperimentKnobs",
    "RolloutKnobs",
    "RolloutShare",
    "assign",
    "flat_overrides",
    "hash_share",
]

_LEAST_ALPHA = 1e-5
"""Least part of `alpha` that a rollout's check has: 0.8 million draws for each figure of one."""

_SUM_TOLERANCE = 1e-9
"""Shares add to one when they do so nearly: three times .333333333333 does."""

ArmName = Annotated[str, Field(title="arm", pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


def hash_share(salt: str, experiment: str, unit: str) -> float:
    """Return the place of a unit on the line from 0 to 1, 1 excluded.

    It is the first 48 bits of the SHA-256 of `["salt","experiment","unit"]` as JSON in UTF-8, so
    that another program can compute it.
    """
    names = [well_formed_id(name) for name in (salt, experiment, unit)]
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return float(int.from_bytes(digest[:6], "big") / 2**48)


def _require_shares(name: str, shares: Mapping[str, float]) -> None:
    """Raise `ConfigError` unless shares lie in [0, 1] and add to one."""
    for arm, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ConfigError(
                f"the share of arm {arm!r} in experiment {name!r} is {share!r:.80}: a share is a "
                "number between 0 and 1, such as .5"
            )
    listed = ", ".join(f"{arm} {share:g}" for arm, share in shares.items())
    for arm, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(
                f"the share of arm {arm!r} in experiment {name!r} is {share:g}: a share lies "
                "between 0 and 1, such as .5"
            )
    total = math.fsum(shares.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ConfigError(
            f"the shares of experiment {name!r} add to {total:.9g} and not to 1 ({listed}): give "
            "every conversation an arm, such as .9 and .1"
        )


def _arm_at(place: float, shares: Mapping[str, float], order: tuple[str, ...]) -> str:
    """Return the arm whose part of the line has a place; what rounding leaves is the last's."""
    taken = [name for name in order if shares[name] > 0]
    ends = accumulate(shares[name] for name in taken)
    return next((name for name, end in zip(taken, ends, strict=True) if place < end), taken[-1])


def assign(name: str, shares: Mapping[str, float], unit: str, *, salt: str = "") -> str:
    """Return the arm of a unit, the same one in every process: for a program of one's own.

    Args:
        name: of the experiment; another name splits the same units independently.
        shares: of each arm, which add to one, such as `{"control": .9, "short": .1}`.
        unit: id of the user or conversation.
        salt: splits the same experiment in another way.

    Raises:
        ConfigError: when the shares do not add to one, or a name or the unit is no text.
    """
    for what, given in (("name", name), ("unit", unit), ("salt", salt)):
        if not isinstance(given, str):
            raise ConfigError(
                f"the {what} of a split is text, and {given!r:.80} is none: give it as a string, "
                "the same one in every program"
            )
    _require_shares(name, shares)
    return _arm_at(hash_share(salt, name, unit), shares, tuple(sorted(shares)))


def flat_overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested knobs by their dotted paths: `{"search": {"max_calls": 6}}` too."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping) and value:
            flat.update({f"{name}.{end}": inner for end, inner in flat_overrides(value).items()})
        else:
            flat[str(name)] = value
    return flat


class RolloutShare(BaseModel):
    """The part of a rollout's state that runs begin with; the rest is of `testing.gate.rollout`."""

    callwise_rollout: Literal[1]
    """Version of the file."""
    experiment: str
    arm: str
    share: float = Field(ge=0, le=1)
    """Share of the new arm that runs begin with now."""

    @classmethod
    def read_file(cls, path: Path, experiment: str, arm: str) -> Self | None:
        """Return the state of a file; None where there is no file yet.

        Raises:
            FormatError: when the file is no state of a rollout, or that of another one.
        """
        try:
            found = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
            raise FormatError(
                path,
                None,
                f"expected the state of a rollout: {problem}; delete it to begin again",
            ) from error
        if (found.experiment, found.arm) != (experiment, arm):
            raise FormatError(
                path,
                None,
                f"is the rollout of arm {found.arm!r} of experiment {found.experiment!r}, and not "
                f"of {arm!r} of {experiment!r}: give each rollout its own file "
                "(experiment.rollout.state)",
            )
        return found


class _Group(BaseModel):
    """Base of the groups: a misspelt knob is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmKnobs(_Group):
    """One arm of an experiment: its share, and the knobs that it sets."""

    share: float | None = Field(default=None, ge=0, le=1)
    """Share of the units. Left out for every arm, the arms have equal shares. In a rollout the
    stage decides it."""
    set: dict[str, Any] = {}
    """Knobs laid over all others, by their paths, such as `{search.max_calls: 6}`."""


def _rising(stages: tuple[float, ...]) -> tuple[float, ...]:
    is_rising = all(one < next_ for one, next_ in pairwise(stages))
    if not stages or stages[0] <= 0 or stages[-1] != 1 or not is_rising:
        raise ValueError("stages rise from above 0 to 1, such as [.01, .05, .25, .5, 1]")
    return stages


class RolloutKnobs(_Group):
    """A staged rollout of one arm: its share rises by stages while the gate does not fail.

    `callwise check RUN --rollout FILE` compares the arms of a run, and keeps stage and
    share in the file; see docs/experiments.md for the share of false returns.
    """

    arm: ArmName
    """The new arm. The experiment has one other arm, which the new one is compared with."""
    state: str = Field(default="rollout.json", min_length=1)
    """File of the state: stage, share and figures, as JSON. Runs begin with its share."""
    stages: Annotated[tuple[float, ...], AfterValidator(_rising)] = (0.01, 0.05, 0.25, 0.5, 1.0)
    """Shares of the new arm, which rise to 1. At 1 nothing is compared any more."""
    units: int = Field(default=40, ge=5, le=100_000)
    """Units of the new arm after which a stage ends."""
    checks: int = Field(default=4, ge=1, le=20)
    """Times within a stage that the gate is applied, at equal distances; the last one ends it, and
    waits for 5 units of each arm. An earlier one with fewer decides nothing."""
    gates: dict[str, float] = {}
    """Tolerances by figure, as `--gate` of `callwise check` has them: calls, degraded and
    unreadable always, at no rise unless it is given here."""
    alpha: float = Field(default=0.05, ge=1e-4, le=0.5)
    """Chance that the whole rollout is returned although no gated figure is worse than its
    tolerance, at most; shared among all checks and figures. Each check needs 1e-5 of it."""
    share: float | None = Field(default=None, ge=0, le=1)
    """Present share of the new arm. None takes that of the state, or the first stage's."""

    @field_validator("gates")
    @classmethod
    def _gates_what_there_is(cls, gates: dict[str, float]) -> dict[str, float]:
        for name in gates:
            if name not in GATE_NAMES:
                raise ValueError(f"there is no gate {name!r}; there are: {', '.join(GATE_NAMES)}")
        try:
            Gates(**gates)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return gates

    @model_validator(mode="after")
    def _has_enough_alpha(self) -> Self:
        checks = self.checks * (len(self.stages) - 1)
        if checks and self.alpha / checks < _LEAST_ALPHA:
            raise ValueError(
                f"alpha={self.alpha:g} leaves less than {_LEAST_ALPHA:g} for each of {checks} "
                "checks, and a check draws more often the less it has: raise alpha, or have fewer "
                "stages or checks"
            )
        return self


class ExperimentKnobs(_Group):
    """A split of conversations or users between arms, each with its own knobs and ledger."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,59}$")
    """Name of the experiment. Another name splits the same units independently."""
    unit: Literal["conversation", "user"] = "conversation"
    """The unit that is given an arm. A conversation without a user is its own user. Where users
    have a memory over conversations, `user` keeps the arms apart."""
    salt: str = Field(default="", max_length=200)
    """Another salt splits the same experiment in another way."""
    arms: dict[ArmName, ArmKnobs]
    """The arms by name, at least two."""
    rollout: RolloutKnobs | None = None
    """Staged rollout of one of two arms; None keeps the shares of the arms."""

    @model_validator(mode="after")
    def _splits_everything(self) -> Self:
        if len(self.arms) < 2:
            raise ValueError(
                f"experiment {self.name!r} has {len(self.arms)} arm; an experiment compares at "
                "least two"
            )
        given = {name: arm.share for name, arm in self.arms.items() if arm.share is not None}
        if self.rollout is not None:
            if self.rollout.arm not in self.arms or len(self.arms) != 2:
                raise ValueError(
                    f"a rollout replaces one of two arms by {self.rollout.arm!r}, and the arms are "
                    f"{', '.join(self.arms)}"
                )
            if given:
                raise ValueError(
                    "the stages of a rollout decide the shares: leave out `share` of the arms"
                )
        elif given and len(given) < len(self.arms):
            missing = ", ".join(name for name in self.arms if name not in given)
            raise ValueError(f"give every arm a share or none; without one: {missing}")
        try:
            _require_shares(self.name, self.shares)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of each arm."""
        if self.rollout is not None:
            new = self.rollout.stages[0] if self.rollout.share is None else self.rollout.share
            return {name: new if name == self.rollout.arm else 1 - new for name in self.arms}
        equal = 1 / len(self.arms)
        return {name: equal if arm.share is None else arm.share for name, arm in self.arms.items()}

    @property
    def order(self) -> tuple[str, ...]:
        """The arms in the order in which they divide the line; the new arm of a rollout first."""
        new = None if self.rollout is None else self.rollout.arm
        return tuple(sorted(self.arms, key=lambda name: (name != new, name)))

    @property
    def control(self) -> str:
        """The arm that others are compared with: `control`, else the first that sets least.

        In a rollout it is the other arm.
        """
        if self.rollout is not None:
            return next(name for name in self.arms if name != self.rollout.arm)
        if "control" in self.arms:
            return "control"
        return min(sorted(self.arms), key=lambda name: len(flat_overrides(self.arms[name].set)))

    def unit_of(self, conversation_id: str, user_id: str | None) -> str:
        """Return the unit of a turn; see `unit`."""
        return user_id or conversation_id if self.unit == "user" else conversation_id

    def arm_of_turn(self, conversation_id: str, user_id: str | None) -> str:
        """Return the arm of a turn."""
        return self.arm_of(self.unit_of(conversation_id, user_id))

    def arm_of(self, unit: str) -> str:
        """Return the arm of a unit."""
        return _arm_at(hash_share(self.salt, self.name, unit), self.shares, self.order)

    def at_stage(self) -> Self:
        """Return the experiment with the share that the state of its rollout has.

        Raises:
            FormatError: when the state cannot be read.
        """
        if self.rollout is None or self.rollout.share is not None:
            return self
        state = RolloutShare.read_file(Path(self.rollout.state), self.name, self.rollout.arm)
        share = self.rollout.stages[0] if state is None else state.share
        rollout = self.rollout.model_copy(update={"share": share})
        return self.model_copy(update={"rollout": rollout})
