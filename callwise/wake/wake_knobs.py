"""Knobs of a wake: who is asked, in which requests, with which delays, for which credits."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.wake.agents import AgentId
from callwise.wake.hours import Missed
from callwise.wake.wake_prompts import PromptOrder

__all__ = ["WakeKnobs"]

Count = Annotated[int, Field(ge=0, le=10**9)]
AtLeastOne = Annotated[int, Field(ge=1, le=10**6)]

MAX_DELAY_SECONDS = 86_400.0

MAX_COMMON_CHARS = 100_000

IDLE_WAIT_SECONDS = 0.25
"""Wait of a request for another reply after the last one, while no other call is under way."""

BATCHES_UNDER_WAY = ScheduleKnobs().max_concurrency - 1
"""Most batches at an endpoint where the run has no schedule: one fewer than the requests that a
schedule allows by default."""


class WakeKnobs(BaseModel):
    """Knobs of the hourly wake of one group chat."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    variant: Literal["server_batch", "agents_alone", "mixed"] = "server_batch"
    """One intent call and one request per model; or each agent asked alone, without an intent
    call, and free to be silent; or one intent call, and each reply a request."""
    room: AgentId = "main"
    """Name of the group chat, of the same signs as an agent's id."""
    delay_seconds: tuple[float, float] = (5.0, 30.0)
    """Shortest and longest time from the beginning of a wake to the delivery of a reply; one that
    is not answered by then is due soon after. Replies to a message are due immediately."""
    every_seconds: Annotated[float, Field(ge=1.0, le=366 * 86_400.0)] = 3600.0
    """Time from one wake to the next."""
    missed: Missed = "one"
    """Wakes for the hours that were missed: one for all, one for each, or none."""
    intent_daily_calls: Count = 1000
    """Intent calls per day (UTC), over all processes. Beyond it `fallback` decides."""
    fallback: Literal["mentioned", "everyone"] = "mentioned"
    """Agents that wake where no intent call decides: those that the last hour's messages mention,
    else the one that has spoken least recently; or everyone."""
    max_awake: Annotated[int, Field(ge=1)] | None = None
    """Most agents of one wake; those that the list names first. None for no limit."""
    max_asked: AtLeastOne = 2000
    """Most agents that are asked at a time, over all models, but at least as many as fill one
    request of each; the others' prompts are made when their turn comes."""
    max_mentions: AtLeastOne = 8
    """Most agents that one message wakes."""
    start_credits: Count = 1000
    """Credits that an agent is granted, once."""
    credits_per_reply: Count = 1
    """Credits that a message costs its agent; 0 for none."""
    notes_limit: Annotated[int, Field(ge=0, le=1000)] = 5
    """Most notes of an agent in its prompt."""
    retrieval: Literal["words", "both"] = "words"
    """Ranking of an agent's notes: by words, which needs no call; or by words and vectors, with one
    embedding of its query and one of its new note (role `embed`)."""
    memory: Literal["message", "extracted"] = "message"
    """Notes that an agent adds after its message: that message with what a person wrote before it,
    which needs no call; or the facts in them as well, extracted by a call per agent (role `fast`)
    once the message is published."""
    chat_limit: Annotated[int, Field(ge=1, le=1000)] = 30
    """Most lines of the chat in a prompt, the newest."""
    common_text: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=MAX_COMMON_CHARS)
    ] = ""
    """Text at the beginning of every agent's prompt, such as the world that they share; at most
    100,000 characters. Models take it for instructions. The intent call does not have it."""
    prompt_order: PromptOrder = "persona_first"
    """Order of a prompt after its instructions: persona, memory, notes, chat and task; or chat and
    task before the others. The prompts of an hour are then equal up to the personas, and a
    provider's prompt cache can serve that part."""
    reply_tokens: Annotated[int, Field(ge=1, le=100_000)] = 400
    """Most tokens of a reply."""
    seed: int = 0
    """Decides the delays, together with the id of each message."""
    chat_path: Annotated[str, Field(pattern=r"^/[\w./-]+$")] | None = "/chat/completions/batch"
    """Path below the base URL of each endpoint's route for lists of conversations. None, or an
    endpoint without one: each reply is a request."""
    batch_size: AtLeastOne = 100
    """Most replies in one request. Four such requests are under way at an endpoint at most, so that
    messages that mention an agent find room; a run with `load.schedule` keeps one slot of each
    endpoint for these instead. `load.batch.max_concurrent` and `load.schedule.critical_slots` go
    before both."""
    batch_wait_seconds: Annotated[float, Field(ge=0.0, le=60.0)] = 2.0
    """Longest time that a request of a wake waits for further replies. While no other call is under
    way, it waits for a quarter of a second after the last one."""

    @model_validator(mode="after")
    def _shortest_before_longest(self) -> Self:
        low, high = self.delay_seconds
        if not 0.0 <= low <= high <= MAX_DELAY_SECONDS:
            raise ValueError(
                "delay_seconds is a shortest and a longest time, from 0 to 86,400; "
                f"got {low:g} and {high:g}"
            )
        return self

    def load(self, run: LoadKnobs | None = None) -> LoadKnobs:
        """Return the knobs of load for the budgeter that serves these wakes.

        Where replies share requests, messages that mention an agent find room: in a run with a
        schedule, one slot of each endpoint and of the run is kept for calls of class CRITICAL
        (`schedule.critical_slots`); in one without, `BATCHES_UNDER_WAY` batches are under way at
        an endpoint at most (`batch.max_concurrent`). Values of the run go before these.

        Args:
            run: knobs that those of batches are laid over; None for none.

        Raises:
            ConfigError: when the two do not fit together.
        """
        run = run or LoadKnobs()
        if self.variant != "server_batch" or self.chat_path is None:
            return run
        batch = BatchKnobs(
            chat_path=self.chat_path,
            is_adaptive=False,
            chat_size=self.batch_size,
            chat_window_seconds=self.batch_wait_seconds,
            chat_idle_window_seconds=min(IDLE_WAIT_SECONDS, self.batch_wait_seconds),
        )
        room = LoadKnobs()
        if run.schedule is not None:
            room = LoadKnobs(schedule=ScheduleKnobs(critical_slots=1))
        elif run.batch is None or run.batch.profile is None:
            room = LoadKnobs(batch=BatchKnobs(max_concurrent=BATCHES_UNDER_WAY))
        return room.laid_under(run).laid_under(LoadKnobs(batch=batch))
