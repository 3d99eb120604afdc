"""JSON schemas of answers, compiled once, and the meaning of property names.

Keywords as pydantic models and tools have them are understood: `type` (also a list), `enum`,
`const`, `properties`, `required`, `additionalProperties`, `patternProperties`,
`propertyNames`, `minProperties`, `items`, `prefixItems`, `minItems`, `maxItems`,
`uniqueItems`, string lengths, `pattern` (simple ones), `format`, numeric limits,
`multipleOf`, `anyOf`, `oneOf`, `allOf`, `$ref` into the document, also recursive. A keyword
of `REFUSED_KEYWORDS` is refused by name; annotations such as `title` change nothing.

The names are documented in docs/simulated-model.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

__all__ = [
    "NEVER_EMPTY",
    "REPLY_KINDS",
    "Allowance",
    "Convention",
    "FormNode",
    "SchemaRefused",
    "compile_schema",
    "convention_of",
]

MAX_STEPS = 20_000
"""Most places of a schema that are compiled, references and `allOf` written out."""

MAX_DEPTH = 100
"""Most objects, arrays and unions within each other, in a schema and in an answer."""

MAX_VALUES = 50_000
"""Most values of all choices of an answer, long texts counted by their length."""

MAX_ITEMS = 10_000
"""Most items of an array, and keys of an object, that a schema may ask for."""

MAX_CHARS = 32_768
"""Longest text that a schema may ask for, in characters."""

REFUSED_KEYWORDS = (
    "not",
    "if",
    "then",
    "else",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
)
"""Keywords that restrict an answer in ways that the simulated model does not write."""

_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})


class SchemaRefused(ValueError):
    """A document that is no JSON schema, or asks for more than the simulated model writes."""


class Allowance:
    """Steps that one piece of work may still take, and its depth. `what` names the steps."""

    __slots__ = ("_depth", "_steps", "_what")

    def __init__(self, steps: int, what: str) -> None:
        self._steps = steps
        self._depth = 0
        self._what = what

    def take(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            SchemaRefused: when there are no more.
        """
        self._steps -= steps
        if self._steps < 0:
            raise SchemaRefused(f"the schema asks for too many {self._what}")

    def __enter__(self) -> None:
        """Enter one level below, which is a step.

        Raises:
            SchemaRefused: when that is too deep, or there are no more steps.
        """
        self.take()
        if self._depth >= MAX_DEPTH:
            raise SchemaRefused(f"the schema is nested more than {MAX_DEPTH} deep, or without end")
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        """Leave the level."""
        self._depth -= 1


@dataclass(slots=True)
class FormNode:
    """The content that one place of an answer may have. Changed only while it is compiled.

    Args:
        kind: `object`, `array`, `string`, `integer`, `number`, `boolean`, `null`,
            `enum`, `union` or `any`.
        nullable: whether null fits too.
        values: of an `enum`, without null.
        options: of a `union`, without null.
        properties: name, node and whether it is required.
        has_reply: whether one of them is a reply, in any form.
        additional: node of further keys of an object; None when there are none.
        key_names: allowed names of further keys; empty when free.
        prefix: nodes of an array's first items; `items` is of the others.
        is_open_low: whether `minimum` itself is excluded; `is_open_high` likewise.
    """

    kind: str = "any"
    nullable: bool = False
    values: list[Any] = field(default_factory=list)
    options: list["FormNode"] = field(default_factory=list)
    properties: list[tuple[str, "FormNode", bool]] = field(default_factory=list)
    has_reply: bool = False
    additional: "FormNode | None" = None
    key_names: list[str] = field(default_factory=list)
    key_pattern: str | None = None
    min_properties: int = 0
    items: "FormNode | None" = None
    prefix: list["FormNode"] = field(default_factory=list)
    min_items: int = 0
    max_items: int | None = None
    is_unique: bool = False
    minimum: float | None = None
    maximum: float | None = None
    is_open_low: bool = False
    is_open_high: bool = False
    multiple_of: float | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None


class _Compiler:
    """Compiles one document; a reference is compiled once, so that recursion ends."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._by_reference: dict[str, FormNode] = {}
        self._allowance = Allowance(MAX_STEPS, "places")

    def compile(self, schema: Any) -> FormNode:
        node = FormNode()
        self._into(node, schema)
        return node

    def _into(self, node: FormNode, schema: Any) -> None:
        if not isinstance(schema, Mapping):
            return  # `true`: anything fits
        with self._allowance:
            self._write(node, self._merged(schema))

    def _write(self, node: FormNode, schema: Mapping[str, Any]) -> None:
        refused = next((word for word in REFUSED_KEYWORDS if word in schema), None)
        if refused is not None:
            raise SchemaRefused(
                f"the simulated model cannot fill the JSON schema keyword {refused!r}. "
                "Leave it out of the form, or use a real endpoint"
            )
        options = schema.get("anyOf") or schema.get("oneOf")
        if "const" in schema:
            node.kind, node.values = "enum", [schema["const"]]
        elif "enum" in schema:
            node.nullable, node.kind = None in schema["enum"], "enum"
            node.values = [value for value in schema["enum"] if value is not None] or [None]
        elif options:
            self._union(node, [self._option(schema, option) for option in options])
        elif isinstance(schema.get("type"), list):
            self._union(node, [{**schema, "type": kind} for kind in schema["type"]])
        else:
            self._typed(node, schema)

    def _option(self, schema: Mapping[str, Any], option: Any) -> Any:
        shared = {k: v for k, v in schema.items() if k in {"properties", "required", "type"}}
        return {**shared, **option} if shared and isinstance(option, Mapping) else option

    def _merged(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the schema with its reference and its `allOf` written out."""
        merged = dict(schema)
        seen: set[str] = set()
        while "$ref" in merged and merged["$ref"] not in seen:
            reference = merged.pop("$ref")
            seen.add(reference)
            target = self._resolve(reference)
            merged = {**target, **merged} if isinstance(target, Mapping) else merged
        for part in merged.pop("allOf", ()):
            with self._allowance:
                written = self._merged(part) if isinstance(part, Mapping) else {}
            for key, value in written.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, ()), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def _resolve(self, reference: str) -> Any:
        target: Any = self._document
        for part in filter(None, reference.removeprefix("#").strip("/").split("/")):
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) else None
        return target

    def _child(self, schema: Any) -> FormNode:
        """Return the node of a schema; a bare reference shares one node."""
        if isinstance(schema, Mapping) and set(schema) == {"$ref"}:
            reference = str(schema["$ref"])
            known = self._by_reference.get(reference)
            if known is None:
                known = self._by_reference[reference] = FormNode()
                self._into(known, self._resolve(reference))
            return known
        return self.compile(schema)

    def _union(self, node: FormNode, options: list[Any]) -> None:
        nodes = [self._child(option) for option in options]
        node.nullable = any(child.kind == "null" or child.nullable for child in nodes)
        node.options = [child for child in nodes if child.kind != "null"]
        node.kind = "union" if node.options else "null"

    def _typed(self, node: FormNode, schema: Mapping[str, Any]) -> None:
        kind = schema.get("type")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "any"
        node.kind = kind
        if kind == "object":
            self._object(node, schema)
        elif kind == "array":
            self._array(node, schema)
        elif kind in _SCALARS:
            self._scalar(node, schema)

    def _object(self, node: FormNode, schema: Mapping[str, Any]) -> None:
        required = set(schema.get("required") or ())
        node.properties = [
            (name, self._child(child), name in required)
            for name, child in (schema.get("properties") or {}).items()
        ]
        node.has_reply = any(convention_of(name) in REPLY_KINDS for name, _, _ in node.properties)
        further = schema.get("additionalProperties")
        for pattern, child in (schema.get("patternProperties") or {}).items():
            node.key_pattern, further = pattern, child
        node.min_properties = _bounded(schema, "minProperties", MAX_ITEMS)
        names = schema.get("propertyNames")
        if isinstance(names, Mapping):
            names = self._merged(names)
            node.key_names = [str(name) for name in names.get("enum") or ()]
            node.key_pattern = names.get("pattern", node.key_pattern)
        if further not in (None, False):
            node.additional = self._child(further)

    def _array(self, node: FormNode, schema: Mapping[str, Any]) -> None:
        node.prefix = [self._child(child) for child in schema.get("prefixItems") or ()]
        items = schema.get("items")
        node.items = self._child(items) if items not in (None, False) else None
        node.min_items = _bounded(schema, "minItems", MAX_ITEMS)
        most = schema.get("maxItems")
        node.max_items = len(node.prefix) if items is False else most
        node.is_unique = bool(schema.get("uniqueItems"))

    @staticmethod
    def _scalar(node: FormNode, schema: Mapping[str, Any]) -> None:
        node.minimum, node.maximum = schema.get("minimum"), schema.get("maximum")
        low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if low is not None and (node.minimum is None or low >= node.minimum):
            node.minimum, node.is_open_low = low, True
        if high is not None and (node.maximum is None or high <= node.maximum):
            node.maximum, node.is_open_high = high, True
        node.multiple_of = schema.get("multipleOf")
        node.min_length = _bounded(schema, "minLength", MAX_CHARS)
        node.max_length = schema.get("maxLength")
        node.pattern, node.format = schema.get("pattern"), schema.get("format")


def _bounded(schema: Mapping[str, Any], name: str, most: int) -> int:
    least = int(schema.get(name) or 0)
    if not 0 <= least <= most:
        raise SchemaRefused(f"{name} is {least:,}. Use a number from 0 to {most:,}")
    return least


def compile_schema(schema: Mapping[str, Any]) -> FormNode:
    """Return the compiled form of a JSON schema.

    Raises:
        SchemaRefused: when it is no JSON schema, or is too large.
    """
    try:
        return _Compiler(schema).compile(schema)
    except SchemaRefused:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SchemaRefused(f"expected a JSON schema: {error}") from error


class Convention(StrEnum):
    """The meaning of a property, by its names; `*_x` is any name that ends so."""

    REPLY = "reply final_reply response answer utterance rewritten_reply *_reply"
    TEXT = "text message content"
    """A reply, a bubble of one, or a sentence: the place decides."""
    BUBBLES = "replies messages bubbles"
    """A reply, cut."""
    CANDIDATES = "candidates variants drafts alternatives"
    STRATEGY = "strategy strategy_tag tag *_strategy"
    ID = "id candidate_id"
    BEST = "best best_id winner winner_id pick chosen chosen_id selected_id"
    """The id of the best candidate."""
    RANK = "rank position place"
    VERDICTS = "scores verdicts ratings judgements judgments evaluations assessments"
    """One entry per candidate, in the order shown."""
    RANKING = "ranking rankings order ranked"
    """One entry per candidate, best first."""
    EVIDENCE = "evidence quote quotes evidence_quote verbatim *_quote *_evidence"
    FACT = "fact facts"
    """A statement with a quotation."""
    GOAL = "goal goals aims intentions *_goal *_goals"
    SCORE = (
        "score overall overall_score quality plan_alignment alignment persona persona_fit "
        "persona_consistency relationship_fit mode_fit style_fit immersion naturalness "
        "engagingness coherence groundedness empathy fluency relevance human_likeness "
        "*_score *_fit *_alignment"
    )
    """A judge's reading; higher is better."""
    ASSISTANTNESS = (
        "assistantness assistant_likeness assistant_like is_assistant_like assistant_tone "
        "is_assistant sounds_like_assistant"
    )
    """A judge's reading of how much a reply sounds like an assistant; lower is better."""
    RISK = "risk safety_risk toxicity harm penalty leak_risk ooc_risk *_risk"
    """A judge's reading; lower is better."""
    THOUGHT = "thought thoughts monologue *_thought"
    """A sentence in the first person."""
    FEELING = "feeling feelings *_feeling"
    IMPULSE = "impulse impulses urge"
    CONTEXT = "context situation"
    """A sentence on the user's message."""
    MENTION = "must_mention mention *_mention"
    AVOID = "avoid avoided *_avoid"
    SUMMARY = "summary new_summary *_summary"
    REASON = "reason reasons rationale explanation *_reason"
    """A judge's reason, which fits its score; without a judged reply any sentence."""
    SIGNALS = "signal signals"
    """Values of a closed set that fit the kind of the user's message, where there are some."""
    TONE = "tone *_tone"
    LOW = (
        "hostility aggression vagueness ambiguity anger distress tension urgency irritation "
        "conflict sarcasm"
    )
    """A quantity that is low most of the time."""
    SIGNED = "delta *_delta *_change"
    """A small change, up or down. Names that begin with `delta_` too."""
    SECONDS = "*_seconds"
    LANGUAGE = "language lang"
    WORD = (
        "word topic topics title name label keyword keywords key theme emotion mood category "
        "kind type tags subject entity place_name"
    )
    OTHER = ""


_BY_NAME = {name: kind for kind in Convention for name in kind.split()}

NEVER_EMPTY = frozenset(
    {
        Convention.REPLY,
        Convention.TEXT,
        Convention.BUBBLES,
        Convention.CANDIDATES,
        Convention.STRATEGY,
        Convention.ID,
        Convention.BEST,
        Convention.RANK,
        Convention.VERDICTS,
        Convention.RANKING,
    }
)
"""Properties that are written even where null would fit."""

REPLY_KINDS = frozenset({Convention.REPLY, Convention.BUBBLES})
"""Properties that contain a reply."""


@lru_cache(maxsize=256)
def convention_of(name: str) -> Convention:
    """Return the meaning of a property's name; `OTHER` when there is no convention on it."""
    lower = name.lower()
    if lower.startswith("delta_"):
        return Convention.SIGNED
    ending = f"*_{lower.rpartition('_')[2]}" if "_" in lower else ""
    return _BY_NAME.get(lower) or _BY_NAME.get(ending, Convention.OTHER)
