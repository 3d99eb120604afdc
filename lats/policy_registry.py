"""Names of all policies: those that are built in, and those that users register."""

import re
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lats.callables import check_function
from lats.strategies import STRATEGIES

if TYPE_CHECKING:
    from lats.search_schedule import Pick, Strategy

__all__ = [
    "CLASSIC",
    "PolicyFunctions",
    "RegisteredPolicy",
    "functions_of",
    "is_registered",
    "policy_names",
    "register_policy",
]

CLASSIC = "classic_uct"
"""Name of the policy that is no strategy."""


class PolicyFunctions(NamedTuple):
    """The functions that a policy was registered with."""

    next_round: "Strategy"
    pick: "Pick | None"


_REGISTERED: dict[str, PolicyFunctions] = {}
"""Policies of users by name; those of this process only."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class RegisteredPolicy:
    """A registration; it ends by `unregister`, or where it is a context manager at its end."""

    def __init__(self, name: str) -> None:
        self.name = name

    def unregister(self) -> None:
        """Forget the policy. Searches that were begun go on; a second time nothing happens."""
        _REGISTERED.pop(self.name, None)

    def __enter__(self) -> Self:
        """Return the registration."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the registration."""
        self.unregister()


def register_policy(
    name: str, next_round: "Strategy", pick: "Pick | None" = None
) -> RegisteredPolicy:
    """Register a policy, so that `SearchKnobs(policy=name)` runs it.

    The registration is one of this process: a state that was saved elsewhere can be resumed once
    the same policy is registered here.

    Args:
        name: small letters, digits and underscores, a letter first; at most 40 characters.
        next_round: `(state, left) -> actions of the next round, or a StopReason`. A function of
            the state, which keeps nothing: the search may be saved and go on elsewhere. An empty
            list means that it has no further plan.
        pick: `(state, ranking) -> candidate` chooses the answer from the candidates that may be
            one, the best first; None takes the first.

    Raises:
        TypeError: when a function cannot be called so.
        ValueError: when the name is none, or is taken.
    """
    given: Any = name
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise ValueError(
            f"a policy is called {name!r}; use small letters, digits and underscores, a letter "
            "first, at most 40 characters"
        )
    if name in policy_names():
        kind = "registered already; unregister it first" if is_registered(name) else "built in"
        raise ValueError(f"the policy {name!r} is {kind}, or give this one another name")
    check_function(
        next_round, "next_round", ("state", "left"), "actions or a StopReason", is_awaited=False
    )
    if pick is not None:
        check_function(pick, "pick", ("state", "ranking"), "candidate", is_awaited=False)
    _REGISTERED[name] = PolicyFunctions(next_round, pick)
    return RegisteredPolicy(name)


def is_registered(policy: object) -> bool:
    """Return whether a policy is one that was registered."""
    return isinstance(policy, str) and policy in _REGISTERED


def policy_names() -> tuple[str, ...]:
    """Return the names of all policies, the registered ones last."""
    return (CLASSIC, *STRATEGIES, *_REGISTERED)


def functions_of(policy: str) -> PolicyFunctions | None:
    """Return the functions of a registered policy; None of any other."""
    return _REGISTERED.get(policy)
