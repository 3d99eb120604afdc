"""Every knob of the reply pipeline, in one model. A preset is a YAML file of these."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)

from callwise.budget.limits import Limits
from callwise.budget.metrics import MetricsKnobs
from callwise.budget.similar import REUSABLE_PURPOSES, SimilarKnobs
from callwise.calls.call import Purpose, Role
from callwise.calls.errors import ConfigError
from callwise.calls.kinds import KINDS, WorkKind
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.policies import PolicyKnobs
from callwise.calls.retry import RetryPolicy
from callwise.calls.role_endpoints import EndpointSettings
from callwise.calls.trust import TrustedSettings
from callwise.knobs import apply_overrides, validate
from callwise.knobs.experiment import ExperimentKnobs, flat_overrides
from callwise.knobs.knob_paths import nearest_names
from callwise.knobs.trace_knobs import TraceKnobs
from graph.knob_groups import (
    FuseKnobs,
    KnobGroup,
    MemoryKnobs,
    ModelName,
    PackKnobs,
    PolicyPurpose,
    PreprocessKnobs,
    ProcessorKnobs,
    RepairKnobs,
    SamplingKnobs,
    SamplingPurpose,
)
from lats.search_knobs import SearchKnobs
from nodes.prompt import OwnTexts, own_texts, prompt, prompt_names
from nodes.records import Language, Persona

__all__ = [
    "BudgetKnobs",
    "CacheKnobs",
    "CacheTimes",
    "OwnTextKnobs",
    "PipelineSettings",
    "ReplyKnobs",
]


class BudgetKnobs(KnobGroup):
    """Hard limits of each scope. A call that does not fit is refused before it is sent."""

    run: Limits = Limits()
    conversation: Limits = Limits()
    turn: Limits = Limits()
    search: Limits = Limits()


def _reusable_purpose(name: str) -> str:
    if name not in REUSABLE_PURPOSES:
        nearest = " or ".join(nearest_names(name, REUSABLE_PURPOSES))
        hint = f"did you mean {nearest}?" if nearest else f"use: {', '.join(REUSABLE_PURPOSES)}"
        raise ValueError(f"no purpose whose answers may be used for similar calls; {hint}")
    return name


ReusablePurpose = Annotated[str, AfterValidator(_reusable_purpose), Field(title="purpose")]


def _ttl(kind: WorkKind) -> Any:
    return Field(default=KINDS[kind].cache_ttl_seconds, ge=0.0, allow_inf_nan=False)


class CacheTimes(KnobGroup):
    """Time for which an answer is kept, by the kind of work; 0 keeps none."""

    llm_inference: float = _ttl(WorkKind.LLM_INFERENCE)
    """Time for answers of a language model."""
    embedding: float = _ttl(WorkKind.EMBEDDING)
    """Time for vectors of an embedding model."""
    vector_search: float = _ttl(WorkKind.VECTOR_SEARCH)
    """Time for results of a search in a store of vectors."""
    summarization: float = _ttl(WorkKind.SUMMARIZATION)
    """Time for summaries."""
    reranking: float = _ttl(WorkKind.RERANKING)
    """Time for answers of a model that orders what was found."""

    def by_kind(self) -> dict[WorkKind, float]:
        """Return the times by their kind of work."""
        return {WorkKind(name): seconds for name, seconds in self}


class CacheKnobs(KnobGroup):
    """An equal call gets the answer that was already paid for; a similar one may."""

    memory_entries: int | None = Field(default=None, ge=0)
    """Answers kept in memory; 0 keeps none. None keeps 10,000 before another tier and with
    `warm_from`, and none without either."""
    hot_hits: int = Field(default=10, ge=1)
    """An answer in memory that was used so often is hot."""
    hot_ttl_multiplier: float = Field(default=5.0, ge=1.0, allow_inf_nan=False)
    """A hot answer is kept in memory so many times as long."""
    disk: str | None = None
    """Folder of a cache on disk, or none."""
    disk_ttl_multiplier: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """An answer is kept on disk so many times as long as in memory; None keeps it until the
    folder is full."""
    redis: bool = False
    """Keep answers in the Redis server of `load.fleet`, for the processes of its name."""
    redis_ttl_multiplier: float | None = Field(default=2.0, gt=0.0, allow_inf_nan=False)
    """An answer is kept in Redis so many times as long as in memory, and at most 30 days; None
    keeps it for these."""
    ttl_seconds: CacheTimes = CacheTimes()
    warm_from: tuple[str, ...] = ()
    """Cassettes whose answers of embeddings and of temperature 0 are in the cache from the
    start."""
    similar: dict[ReusablePurpose, SimilarKnobs] = {}
    """Reuse of answers to similar calls, by purpose. What was judged is kept next to the folder of
    `disk`, or else for a session."""


class ReplyKnobs(KnobGroup):
    """The reply that is shown to the user."""

    max_chars: int = Field(default=1200, ge=20, le=20_000)
    """Longer replies are cut at the end of a sentence."""
    stream: bool = False
    """Show the bubbles of a reply that one call writes (`fuse.reply`) while its answer arrives;
    see docs/streaming.md. A reply of more than four bubbles' length is then cut from its beginning
    on, and an answer that breaks off after a bubble is the reply as far as it was shown. The
    bubbles of other replies are shown when they are final, with it or without."""
    on_outage: Literal["fail", "fallback"] = "fail"
    """Effect of a failure of the reply's own call, retries included: `fail` stops the run,
    which can go on later; `fallback` sends a neutral line and goes on. A call that the
    budget refused or cut, or an answer of no use, is no outage: those always fall back."""
    held_seconds: float = Field(default=15.0, ge=0.0)
    """Time that is held back for the reply's own call where time is limited: the nodes
    before it have that much less. An answer of some 600 tokens at 40 tokens per second, half
    of a usual speed; with less time the search writes fewer candidates per call."""


def _prompt_name(name: str) -> str:
    if name not in prompt_names():
        nearest = " or ".join(nearest_names(name, prompt_names()))
        hint = f"did you mean {nearest}?" if nearest else f"known: {', '.join(prompt_names())}"
        raise ValueError(f"no such prompt; {hint}")
    return name


PromptName = Annotated[str, AfterValidator(_prompt_name), Field(title="prompt")]
RubricName = Annotated[str, Field(title="rubric", pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class OwnTextKnobs(KnobGroup):
    """A text of one's own, by language. A language that is left out has the shipped text."""

    en: str | None = Field(default=None, min_length=1, max_length=20_000)
    """The English text."""
    zh: str | None = Field(default=None, min_length=1, max_length=20_000)
    """The Chinese text."""

    @model_serializer
    def _write_what_is_set(self) -> dict[str, str]:
        return {name: text for name, text in self if text is not None}


def _texts(kind: str, texts: Mapping[str, OwnTextKnobs]) -> OwnTexts:
    """Return texts as `nodes.prompt.own_texts` takes them, in order of their names."""
    return tuple(
        (f"{kind}{name}.{language}", text)
        for name, each in sorted(texts.items())
        for language, text in each
        if text is not None
    )


class PipelineSettings(KnobGroup, TrustedSettings):
    """Every knob of the reply pipeline."""

    cut_knobs: ClassVar[Mapping[str, str]] = {
        "search.assistant_check_max_concurrency": "4 assistant checks are asked together; "
        "search.assistant_check_top_n sets their number",
        "search.top_up_similarity": "strategies count as the same from a similarity of 0.6 on; "
        "search.max_top_ups=0 asks for no more of them",
        "search.reflection.bar": "a sub-score below 0.3 is a failure; search.reflection.enabled "
        "turns guidelines off",
        "search.reflection.min_failures": "3 candidates must fail in the same way; "
        "search.reflection.enabled turns guidelines off",
        "search.reflection.max_guidelines": "the 3 latest guidelines are kept; "
        "search.reflection.ttl_turns sets how long",
    }
    """Knobs of earlier versions, each with its replacement; named when a preset has one."""

    preset: str = "classic"
    """Name of the preset that these knobs are of: a shipped one's, or that of its file. Chosen
    by --preset; in a file of knobs `preset` means the same as `extends`."""
    overlap: bool = False
    """Run nodes side by side where the data allow: retrieval with detection, the
    evolver with the memory manager. `fuse` may put them in sequence again."""
    fuse: FuseKnobs = FuseKnobs()
    search: SearchKnobs = SearchKnobs()
    processor: ProcessorKnobs = ProcessorKnobs()
    memory: MemoryKnobs = MemoryKnobs()
    preprocess: PreprocessKnobs = PreprocessKnobs()
    sampling: dict[SamplingPurpose, SamplingKnobs] = {}
    """Sampling of answers, by the purpose of the call; `default` is for all purposes."""
    prompts: dict[PromptName, OwnTextKnobs] = {}
    """Texts in place of the shipped prompts, by name and language (`en`, `zh`). Names are those of
    the files in `nodes/prompts`, and `{{_name}}` in a text is the part of that name."""
    rubrics: dict[RubricName, OwnTextKnobs] = {}
    """Rubrics of the search's judge, by name and language, for `search.rubrics`. One that has a new
    name asks for a score alone; `overall`, `character` and `fit` keep their sub-scores."""
    repair: RepairKnobs = RepairKnobs()
    pack: dict[PolicyPurpose, PackKnobs] = {}
    """Packing of calls that are asked together, by their purpose."""
    reply: ReplyKnobs = ReplyKnobs()
    budget: BudgetKnobs = BudgetKnobs()
    retry: RetryPolicy = RetryPolicy()
    load: LoadKnobs = LoadKnobs()
    cache: CacheKnobs = CacheKnobs()
    metrics: MetricsKnobs | None = Field(default=None, exclude=True)
    """Metrics of a run while it goes on. They are no part of a run's identity: they change nothing
    that is asked or answered."""
    traces: TraceKnobs = Field(default=TraceKnobs(), exclude=True)
    """Not recorded with a run: a replay sends traces where its own knobs ask for them."""
    agent_id: str = Field(default="agent", min_length=1, max_length=200)
    """Owner of the memory, together with the user."""
    persona: Persona = Persona(
        name="Lin",
        background="Runs a small second-hand bookshop and has lived in the same town for years.",
        speaking_style="plain, warm, a little dry; asks more than tells",
    )
    """The agent of a conversation that names no persona."""
    seed: int = Field(default=0, ge=0)
    """Seeds the search, the retries' jitter and the simulated model."""
    experiment: ExperimentKnobs | None = None
    """A split of conversations or users between arms that set other knobs; None splits nothing."""
    endpoints: dict[Role, EndpointSettings] = {}
    """The endpoint of each role. A role without one has that of `main`; settings that `main`
    leaves out come from CALLWISE_BASE_URL, CALLWISE_MODEL and CALLWISE_API_KEY; where nothing
    is set, the embedded simulated model answers."""
    models: dict[ModelName, EndpointSettings] = {}
    """Further models by name, for `policies`. What one leaves out is what `main` has, but the
    model, which is the name."""
    policies: dict[PolicyPurpose, PolicyKnobs] = {}
    """Choice of the models that answer calls, by purpose; `default` is for all other chat calls."""

    @property
    def own_texts(self) -> OwnTexts:
        """Prompts and rubrics in place of the shipped ones, in order of their names."""
        return (*_texts("", self.prompts), *_texts("rubric ", self.rubrics))

    @field_validator("prompts")
    @classmethod
    def _has_whole_prompts(cls, prompts: dict[str, OwnTextKnobs]) -> dict[str, OwnTextKnobs]:
        languages: tuple[Language, ...] = ("en", "zh")
        with own_texts(_texts("", prompts)):
            for name, language in product(prompts, languages):
                try:
                    prompt(name, language)
                except ConfigError as error:
                    raise ValueError(str(error)) from error
        return prompts

    @model_validator(mode="after")
    def _routes_to_known_models(self) -> "PipelineSettings":
        known = {*Role, *self.models}
        if Purpose.EMBED in self.policies:
            raise ValueError("policies.embed chooses nothing: embeddings stay with one model")
        for purpose, policy in self.policies.items():
            unknown = [name for name in policy.models if name not in known]
            if unknown:
                there = ", ".join((*Role, *self.models))
                raise ValueError(
                    f"policies.{purpose} names the model {unknown[0]!r:.80}, and there are: "
                    f"{there:.400}. Add it to `models`"
                )
        return self

    @field_validator("sampling")
    @classmethod
    def _samples_no_embedding(cls, value: dict[str, SamplingKnobs]) -> dict[str, SamplingKnobs]:
        embed = value.get(str(Purpose.EMBED))
        if embed is not None and embed.model_fields_set - {"timeout_seconds"}:
            raise ValueError("an embedding has nothing to sample: `embed` takes timeout_seconds")
        return value

    def of_arm(self, arm: str) -> "PipelineSettings":
        """Return the settings of one arm of the experiment, which split nothing themselves.

        Raises:
            ConfigError: when a knob of the arm is unknown or out of range, or an arm would have
                a limit of the whole run that it does not set itself.
        """
        if self.experiment is None or arm not in self.experiment.arms:
            raise ConfigError(f"there is no arm {arm!r} of an experiment")
        knobs = flat_overrides(self.experiment.arms[arm].set)
        where = f"experiment.arms.{arm}.set"
        refused = [
            name for name in knobs if name.partition(".")[0] in {"experiment", "agent_id", "preset"}
        ]
        if refused:
            raise ConfigError(
                f"{where} cannot set {refused[0]}: arms share the memory and the split; set it "
                "outside of the experiment"
            )
        if self.budget.run != Limits() and not any(name.startswith("budget.run") for name in knobs):
            raise ConfigError(
                "budget.run would limit each arm of an experiment for itself, since each has its "
                f"ledger: set it in {where} of every arm, or limit conversations and turns"
            )
        for name in ("port", "textfile"):
            if getattr(self.metrics, name, None) and f"metrics.{name}" not in knobs:
                raise ConfigError(
                    f"metrics.{name} would be that of several arms, and each has its metrics: set "
                    f"it in {where} of every arm{' or take 0' if name == 'port' else ''}"
                )
        given = self.model_dump(mode="json", exclude_unset=True, exclude={"experiment"})
        observed = {"metrics": self.metrics, "traces": self.traces}
        for name in observed.keys() & self.model_fields_set:
            group = observed[name]
            given[name] = group and group.model_dump(mode="json", exclude_unset=True)
        try:
            found = validate(PipelineSettings, apply_overrides(given, knobs, PipelineSettings))
        except ConfigError as error:
            raise ConfigError(f"{where} cannot be used: {error}") from error
        return found.trusting(self.trust)
