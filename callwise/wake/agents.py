"""Agents: a name, a persona, a model and a first memory each, and the file that lists them.

    agents:
      - id: alice
        persona: A retired sailor who answers in few words.
        model: dsv3
        memory: [Her boat is called Marie.]

Invariant: an agent is found by its id alone, and no two ids differ in case only.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from callwise.calls.errors import ConfigError
from callwise.safe_text import is_one_line, without_joiners

__all__ = ["MAX_NAME_CHARS", "Agent", "AgentId", "Mentions", "check_agents", "first_of"]

MAX_SHOWN_CHARS = 80
"""Longest piece of a file that an error quotes, in characters."""

MAX_NAME_CHARS = 64
"""Longest id and name, in characters."""

MAX_LISTED = 20
"""Most problems that one error lists; the others are counted."""

MAX_SIGNS = 200
"""Most signs `@` of a text that are read."""

_SIGN = re.compile(r"(?<![A-Za-z0-9_.-])@(?=[^\s@])")
"""Begins a mention; within an address of e-mail it does not."""

_NO_SPACES = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "HANGUL",
    "BOPOMOFO",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
)
"""Scripts whose words stand next to each other, or take endings, as Unicode names begin."""

AgentId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""Part of message ids and of names of scopes: no other signs."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
Fact = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


def _without_line_breaks(name: Any) -> Any:
    if isinstance(name, str) and not is_one_line(name):
        raise ValueError("a name has no line breaks and no control characters")
    return name


class Agent(BaseModel):
    """One agent. Everything in it is sent in requests for this agent alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: AgentId
    """Letters, digits, `-`, `_` and `.`; at most 64."""
    name: Annotated[Name, BeforeValidator(_without_line_breaks)] = ""
    """Name that people read and mention; the id by default."""
    persona: Text
    """Description of the agent, in its own prompt whole."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    """Name of the endpoint that answers for it."""
    memory: Annotated[tuple[Fact, ...], Field(max_length=200)] = ()
    """Facts that are in each of its prompts, in this order."""

    def model_post_init(self, _: Any) -> None:
        """Take the id where no name is given."""
        if not self.name:
            object.__setattr__(self, "name", self.id)


def first_of(problems: Sequence[str], separator: str) -> str:
    """Return the first problems in one text, and how many there are more."""
    more = len(problems) - MAX_LISTED
    return separator.join([*problems[:MAX_LISTED], *([f"and {more:,} more"] if more > 0 else [])])


def check_agents(agents: Iterable[Agent]) -> tuple[Agent, ...]:
    """Return the agents.

    Raises:
        ConfigError: when two have ids that differ in case only, or not at all; lists each, of
            many the first 20.
    """
    known = tuple(agents)
    seen: dict[str, Agent] = {}
    problems = []
    for agent in known:
        other = seen.setdefault(agent.id.casefold(), agent)
        if other is not agent:
            problems.append(f"agent {agent.id!r}: another one has the id {other.id!r}. Change one")
    if problems:
        raise ConfigError(first_of(problems, "; "))
    return known


def _goes_on(last: str, rest: str) -> bool:
    """Return whether a word that has a last character goes on in the rest of a text."""
    if not rest or not _is_of_word(last):
        return False
    return unicodedata.category(rest[0])[0] == "M" or (
        _is_of_word(rest[0]) and not unicodedata.name(rest[0], "").startswith(_NO_SPACES)
    )


def _is_of_word(sign: str) -> bool:
    return sign in "_-" or unicodedata.category(sign)[0] in "LNM"


class Mentions:
    """Finds the agents that a text mentions, as `@` and their id or name in any letter case.

    A word that goes on after a name is another word, except in scripts without spaces.

    A name that several agents have, or that is another one's id, mentions none of them.
    """

    def __init__(self, agents: Iterable[Agent]) -> None:
        agents = tuple(agents)
        named: dict[str, set[str]] = {}
        for agent in agents:
            named.setdefault(agent.name.casefold(), set()).add(agent.id)
        self._ids = {name: next(iter(ids)) for name, ids in named.items() if len(ids) == 1}
        self._ids.update((agent.id.casefold(), agent.id) for agent in agents)
        self._names = {without_joiners(name) for name in (*named, *self._ids)}
        self._longest = max(map(len, self._ids), default=0)

    def is_name(self, text: str) -> bool:
        """Return whether a text is the id or a name of an agent, so that no person may have it.

        Joiners make no other name: many of them cannot be seen.
        """
        return without_joiners(text).strip().casefold() in self._names

    def agent_of(self, text: str) -> str | None:
        """Return the id of the agent that a text is the id or the name of, as a whole."""
        return self._ids.get(text.strip().casefold())

    def find(self, text: str) -> tuple[str, ...]:
        """Return the ids of the agents in the order of their first mention."""
        found: dict[str, None] = {}
        for sign, _ in zip(_SIGN.finditer(text), range(MAX_SIGNS), strict=False):
            start = sign.end()
            piece = text[start : start + self._longest + 1].casefold()
            for length in range(min(len(piece), self._longest), 0, -1):
                agent = self._ids.get(piece[:length])
                if agent is not None and not _goes_on(piece[length - 1], piece[length:]):
                    found[agent] = None
                    break
        return tuple(found)
