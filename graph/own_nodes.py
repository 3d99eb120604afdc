"""Nodes that a program adds to the reply pipeline, each after one of those that there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callwise.calls.errors import ConfigError
from graph.steps import STEPS, Step
from nodes.prompt import OwnTexts
from nodes.question import Question
from nodes.records import Language

__all__ = ["OwnNode", "checked_nodes", "placed", "steps_of"]


@dataclass(frozen=True, slots=True)
class OwnNode:
    """A node of a program's own.

    Args:
        name: its name in ledgers, reports and baselines; small letters, digits and underscores.
        after: the node that it follows. What waited for that one waits for this one.
        step: given the state and the context of a turn, returns fields of the state to change.
        question: what it asks, if anything, for the plan; `step` asks it.
        prompts: the texts of the question's prompt by language.
    """

    name: str
    after: str
    step: Step
    question: Question[Any, Any] | None = None
    prompts: Mapping[Language, str] = field(default_factory=dict)

    @property
    def texts(self) -> OwnTexts:
        """Its prompts, as `nodes.prompt.own_texts` takes them."""
        if self.question is None:
            return ()
        prompt = self.question.prompt
        return tuple((f"{prompt}.{each}", text) for each, text in sorted(self.prompts.items()))


def checked_nodes(nodes: Sequence[OwnNode]) -> tuple[OwnNode, ...]:
    """Return the nodes.

    Raises:
        ConfigError: when a name is taken or none, there is no node to follow, or a prompt lacks a
            language.
    """
    known = list(STEPS)
    for node in nodes:
        if not node.name.isidentifier() or node.name != node.name.lower() or node.name in known:
            raise ConfigError(
                f"a node is called {node.name!r}, which is taken or no name; use small letters, "
                "digits and underscores"
            )
        if node.after not in known or node.after == known[-1]:
            raise ConfigError(
                f"the node {node.name!r} is to follow {node.after!r}; it can follow "
                f"{', '.join(name for name in known if name != 'memory_writer')}"
            )
        if node.question is not None and node.prompts.keys() != {"en", "zh"}:
            raise ConfigError(
                f"the node {node.name!r} asks in the language of the conversation: give its "
                "`prompts` as {'en': ..., 'zh': ...}"
            )
        known.insert(known.index(node.after) + 1, node.name)
    return tuple(nodes)


def steps_of(nodes: Sequence[OwnNode]) -> dict[str, Step]:
    """Return the steps of all nodes by name."""
    return {**STEPS, **{node.name: node.step for node in nodes}}


def placed(
    waits: dict[str, tuple[str, ...]], nodes: Sequence[OwnNode]
) -> dict[str, tuple[str, ...]]:
    """Return what each node waits for, with own nodes in their places; see `predecessors`."""
    for node in nodes:
        moved: dict[str, tuple[str, ...]] = {}
        for name, befores in waits.items():
            moved[name] = tuple(node.name if each == node.after else each for each in befores)
            if name == node.after:
                moved[node.name] = (node.after,)
        waits = moved
    return waits
