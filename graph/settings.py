"""Every knob of the reply pipeline, in one model. A preset is a YAML file of these."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lats.knobs import SearchKnobs
from nodes.records import Persona
from turnwise.budget.limits import Limits
from turnwise.budget.retry import RetryPolicy
from turnwise.calls.endpoints import EndpointSettings
from turnwise.calls.vocabulary import Role

__all__ = [
    "BudgetKnobs",
    "CacheKnobs",
    "FuseKnobs",
    "MemoryKnobs",
    "ProcessorKnobs",
    "RepairKnobs",
    "ReplyKnobs",
    "Settings",
]


class Knobs(BaseModel):
    """Base of the groups: a misspelt knob is an error, in every group."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessorKnobs(Knobs):
    """How the reply is cut into chat bubbles."""

    llm: Literal["auto", "always", "never"] = "auto"
    """`auto` asks a model only when the search left no bubbles; `never` cuts by rule."""


class MemoryKnobs(Knobs):
    """What of the past a turn sees."""

    history_turns: int = Field(default=8, ge=0, le=100)
    """Most of the latest turns shown word for word. When there are more, the older half goes
    at once, so that for several turns a prompt begins as the one before did and a provider's
    prefix cache serves it: 8 shows 5 to 8."""
    retrieve_k: int = Field(default=5, ge=0, le=50)
    """Older memories shown, at most."""
    dense: bool = False
    """Also retrieve by embeddings: one embed call a turn for the query, and one for
    what is written. Needs an endpoint for the role `embed`."""


class FuseKnobs(Knobs):
    """Which nodes ask one structured call together.

    A fused call that fails, is refused or cannot be read is followed by the separate
    calls, within the same budget; a part of it that cannot be used, by that part's own.
    """

    thinking: bool = False
    """Detection, inner monologue and reasoner ask one call: 2 calls and 2 rounds less a
    turn. It sees mode and mood as they were before the turn."""
    bookkeeping: bool = False
    """Evolver and memory manager ask one call: 1 call less a turn."""
    reply: bool = False
    """In place of the call of `thinking`, which this needs, one call writes a thought and the
    reply, and the search asks nothing. Detection is by rule, and there is no plan. Memories
    are retrieved before it."""
    wind_down: bool = False
    """Fuse more than the above in a turn that is short of calls: first thinking and
    bookkeeping, then the reply. The turn's record says so in `wound_down`."""

    @model_validator(mode="after")
    def _replies_with_thoughts(self) -> "FuseKnobs":
        if self.reply and not self.thinking:
            raise ValueError(
                "fuse.reply=true needs fuse.thinking=true: a call that replies stands for "
                "those that think; set both, or leave fuse.reply false"
            )
        return self


class RepairKnobs(Knobs):
    """What happens to an answer that does not have the form asked for."""

    max_repairs: int = Field(default=1, ge=0, le=5)
    """Times it is asked again. Each is a counted call."""


class BudgetKnobs(Knobs):
    """Hard limits a scope. What does not fit is refused before it is sent."""

    run: Limits = Limits()
    conversation: Limits = Limits()
    turn: Limits = Limits()
    search: Limits = Limits()


class CacheKnobs(Knobs):
    """Exact cache: an equal call gets the answer that was already paid for."""

    memory_entries: int = Field(default=0, ge=0)
    """Answers kept in memory; 0 keeps none."""
    disk: str | None = None
    """Folder of a cache on disk, or none."""


class ReplyKnobs(Knobs):
    """What may be shown to the user."""

    max_chars: int = Field(default=1200, ge=20, le=20_000)
    """Longer replies are cut at the end of a sentence."""
    on_outage: Literal["fail", "fallback"] = "fail"
    """When the endpoint fails the reply's own call, retries included: `fail` stops the run,
    which can go on later; `fallback` sends a neutral line and goes on. A call that the
    budget refused or cut, or an answer of no use, is no outage: those always fall back."""
    held_seconds: float = Field(default=10.0, ge=0.0)
    """Time that is held back for the reply's own call where time is limited: the nodes
    before it see that much less. An answer of some 800 tokens at 83 tokens a second."""


class Settings(Knobs):
    """Every knob of the reply pipeline."""

    preset: str = "classic"
    """Name of the preset that these knobs started from."""
    overlap: bool = False
    """Run nodes side by side where the data allow: retrieval beside detection, the
    evolver beside the memory manager. `fuse` may put them in line again."""
    fuse: FuseKnobs = FuseKnobs()
    search: SearchKnobs = SearchKnobs()
    processor: ProcessorKnobs = ProcessorKnobs()
    memory: MemoryKnobs = MemoryKnobs()
    repair: RepairKnobs = RepairKnobs()
    reply: ReplyKnobs = ReplyKnobs()
    budget: BudgetKnobs = BudgetKnobs()
    retry: RetryPolicy = RetryPolicy()
    cache: CacheKnobs = CacheKnobs()
    agent_id: str = Field(default="agent", min_length=1, max_length=200)
    """Whose memory it is, together with the user."""
    persona: Persona = Persona(
        name="Lin",
        background="Runs a small second-hand bookshop and has lived in the same town for years.",
        speaking_style="plain, warm, a little dry; asks more than tells",
    )
    """Who answers when a conversation names nobody."""
    seed: int = Field(default=0, ge=0)
    """Seeds the search, the retries' jitter and the simulated model."""
    endpoints: dict[Role, EndpointSettings] = {}
    """Who answers each role. Unset roles follow TURNWISE_BASE_URL and TURNWISE_MODEL,
    and the embedded simulated model where those are not set."""
