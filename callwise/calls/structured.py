"""Reading an answer as a response model.

Of the documents in an answer (see `answer_text`) the last one that fits is taken: drafts
come first, and quotations of the prompt (see `quoted`) are none. Its values are brought to
their types and limits (see `answer_values`), and what does not fit all the same is left out
where the model can do without it: one bad entry of a list never costs the others, and an
optional field never costs a required one. All that was mended or left out is noted. What
cannot be read is an `InvalidAnswer`, which `repair` puts into words.

Reading is a function of the text, the model, the finish reason and the prompt alone.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from callwise.calls.answer_cache import current_cache, digest_of
from callwise.calls.answer_text import Document, FoundDocuments, Quotable, find_documents, was_cut
from callwise.calls.answer_values import SchemaNode, normal_name, resolved, tidied
from callwise.calls.call import Message
from callwise.calls.errors import InvalidAnswer
from callwise.calls.loose_json import embedded_json
from callwise.calls.schema import response_schema
from callwise.calls.step_times import timed

__all__ = ["ReadAnswer", "SeparateAnswers", "fitted", "notes_of", "parse_answer", "read_answer"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_NOTES = 12
"""Most notes of one answer."""

MAX_NOTE_CHARS = 100
"""Longest note, in characters: places in an answer may have untrusted names."""

MAX_PASSES = 8
"""Times that a document is validated, each without what did not fit before."""

MAX_WRAPPINGS = 3
"""Objects around an answer that are looked into."""

_WRAPPERS = frozenset(
    {
        "answer",
        "response",
        "result",
        "output",
        "data",
        "json",
        "object",
        "content",
        "finalanswer",
        "finalresponse",
        "properties",
        "arguments",
        "parameters",
        "input",
        "args",
        "function",
    }
)
"""Normal names of keys under which models wrap an answer, or call it a tool's arguments."""

_NOTES = "notes"
"""Under which name a validation's context has the list of notes."""

_KINDS = {
    "missing": "missing",
    "string_type": "text",
    "list_type": "list",
    "tuple_type": "list",
    "set_type": "list",
    "model_type": "object",
    "model_attributes_type": "object",
    "dict_type": "object",
    "literal_error": "choice",
    "enum": "choice",
    "too_short": "empty",
    "string_too_short": "empty",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
}
_NUMBER_ERRORS = ("float_", "int_", "finite_", "greater_than", "less_than", "decimal_")


class SeparateAnswers(BaseModel):
    """A form whose fields are answers to separate questions: none changes how another is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReadAnswer(NamedTuple, Generic[ModelT]):
    """An answer that could be read.

    Args:
        notes: what was mended or left out to read it, in a few words each.
    """

    parsed: ModelT
    notes: tuple[str, ...] = ()


def parse_answer(text: str, model: type[ModelT], *, finish_reason: str | None = None) -> ModelT:
    """Return an answer's text as a response model; see `read_answer`.

    Raises:
        InvalidAnswer: when it cannot be read.
    """
    return read_answer(text, model, finish_reason=finish_reason).parsed


def read_answer(
    text: str,
    model: type[ModelT],
    *,
    finish_reason: str | None = None,
    prompt: Sequence[Message] = (),
    is_thoughts: bool = False,
) -> ReadAnswer[ModelT]:
    """Return an answer's text as a response model, with notes.

    Args:
        text: the answer. Untrusted: it is parsed as JSON and never evaluated.
        prompt: what was asked, so that quotations of it are not taken for the answer.

    Raises:
        InvalidAnswer: when there is no document in it, or none fits.
    """
    cache = current_cache()
    if cache is None:
        return _read_new(text, model, finish_reason, prompt, is_thoughts=is_thoughts)
    digest = digest_of(
        text, model, finish_reason=finish_reason, prompt=prompt, is_thoughts=is_thoughts
    )
    found: ReadAnswer[ModelT] | None = cache.get(digest)
    if found is None:
        found = _read_new(text, model, finish_reason, prompt, is_thoughts=is_thoughts)
        cache.put(digest, found)
    return found


def _read_new(
    text: str,
    model: type[ModelT],
    finish_reason: str | None,
    prompt: Sequence[Message],
    *,
    is_thoughts: bool,
) -> ReadAnswer[ModelT]:
    """Return an answer that is read; see `read_answer`."""
    try:
        with timed("parse"):
            found = find_documents(text, is_cut=was_cut(finish_reason), is_thoughts=is_thoughts)
        with timed("validate"):
            return _read(found, text, model, Quotable(prompt))
    except RecursionError as error:
        problem = f"expected JSON for {model.__name__}: it is nested too deeply"
        raise InvalidAnswer(problem, text, misfits=(("depth", "", ""),)) from error


def _read(
    found: FoundDocuments, text: str, model: type[ModelT], quotable: Quotable
) -> ReadAnswer[ModelT]:
    documents = [each for each in found.documents if not quotable.has(each.value)]
    # A list is the answer of a form with one list; in prose it is a reference such as [1].
    in_order = sorted(documents, key=lambda each: each.has_objects)
    in_order += _entries_one_by_one(documents, model)
    misfit: ValidationError | None = None
    empty: ReadAnswer[ModelT] | None = None
    for document in reversed(in_order):
        for shape in _shapes(document, model):
            if quotable.has(shape):
                continue
            notes = [document.note] if document.note else []
            try:
                is_separate = issubclass(model, SeparateAnswers)
                tidy, tidy_notes = tidied(shape, response_schema(model), is_separate=is_separate)
                parsed = fitted(tidy, model, notes := [*notes, *tidy_notes])
            except ValidationError as error:
                misfit = misfit or error
            else:
                answer = ReadAnswer(parsed, _short(notes))
                if len(in_order) == 1 or not _is_empty(parsed):
                    return answer
                empty = empty or answer  # a form to fill in, or an echo of the schema
    if empty is not None:
        return empty
    if misfit is not None:
        misfits = tuple(_misfit(error) for error in _errors(misfit)[:MAX_NOTES])
        problem = f"answer does not fit {model.__name__}: {_problem_text(misfit)}"
    else:
        misfits = (("no_object", "", ""),)
        why = found.problem or "its objects have none of the fields that were asked for"
        problem = f"expected JSON for {model.__name__}: {why}"
    if found.is_cut:
        problem = f"the answer was cut off before its end; {problem}"
    raise InvalidAnswer(
        problem, text, misfits=misfits, excerpt=found.excerpt, is_cut=found.is_cut
    ) from misfit


def _is_empty(value: Any) -> bool:
    """Return whether there is no text, no number but 0 and no truth in a value."""
    if isinstance(value, BaseModel):
        value = value.__dict__
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_empty, value))
    return not value


def fitted(document: Any, model: type[ModelT], notes: list[str] | None = None) -> ModelT:
    """Return a document as a model, without what does not fit and is not required.

    Args:
        document: JSON values. Not changed.
        notes: what was left out is added to it.

    Raises:
        ValidationError: when something required does not fit.
    """
    notes = [] if notes is None else notes
    left_out: list[str] = []
    for is_last in (*(False,) * MAX_PASSES, True):
        inner: list[str] = []
        try:
            parsed = model.model_validate(document, context={_NOTES: inner})
        except ValidationError as error:
            paths = [problem["loc"] for problem in _errors(error)]
            document = document if left_out else deepcopy(document)
            dropped = _drop_places(document, response_schema(model), paths)
            if is_last or not dropped:
                raise
            left_out += [f"left out {name}" for name in dropped]
        else:
            break
    notes += [*left_out, *inner]
    return parsed


def _drop_places(document: Any, schema: SchemaNode, paths: Sequence[Sequence[Any]]) -> list[str]:
    """Drop from a document what has its errors and is not required; return what was.

    Of each error it is the innermost optional field or list entry. Nothing is dropped when
    one of the errors has no such place.

    Args:
        document: changed in place.
    """
    places: dict[tuple[int, Any], tuple[Any, Any, str]] = {}
    for path in paths:
        droppable = [
            (holder, key, name)
            for holder, key, node, name in _steps(document, schema, path)
            if isinstance(holder, list) or key not in node.get("required", ())
        ]
        if not droppable:
            return []
        holder, key, _ = droppable[-1]
        places[id(holder), key] = droppable[-1]
    # From the end, so that indexes of a list stay right.
    in_order = sorted(places.values(), key=lambda it: it[1] if isinstance(it[1], int) else -1)
    for holder, key, _ in reversed(in_order):
        del holder[key]
    return [name for _, _, name in places.values()]


def _steps(
    document: Any, schema: SchemaNode, path: Sequence[Any]
) -> Iterator[tuple[Any, Any, SchemaNode, str]]:
    """Yield each step of a path that the document has; pydantic's marks are passed over."""
    value, node, name = document, resolved(schema, schema), ""
    for key in path:
        is_index = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if not is_index and not (isinstance(value, dict) and key in value):
            continue
        name = f"{name}.{key}" if name else str(key)
        yield value, key, node, name
        child = node.get("items") if is_index else node.get("properties", {}).get(key)
        value, node = value[key], resolved(child, schema)


def notes_of(info: ValidationInfo) -> list[str]:
    """Return the list to which a validator of a response model may add notes."""
    notes = (info.context or {}).get(_NOTES)
    return notes if isinstance(notes, list) else []


def _short(notes: list[str]) -> tuple[str, ...]:
    kept = tuple(note[:MAX_NOTE_CHARS] for note in dict.fromkeys(notes))
    if len(kept) <= MAX_NOTES:
        return kept
    return (*kept[: MAX_NOTES - 1], f"and {len(kept) - MAX_NOTES + 1} more")


@lru_cache(maxsize=256)
def _known_names(model: type[BaseModel]) -> frozenset[str]:
    names = {normal_name(name) for name in response_schema(model).get("properties", {})}
    return frozenset(names | {normal_name(name) for name in model.model_fields})


def _shapes(document: Document, model: type[BaseModel]) -> Iterator[Any]:
    """Yield what of a document may be the answer: itself, or what is wrapped in it."""
    if issubclass(model, RootModel) or model.model_config.get("extra") == "allow":
        yield document.value
        return
    yield from _inner_shapes(document.value, document, model, MAX_WRAPPINGS)


def _inner_shapes(
    value: Any, document: Document, model: type[BaseModel], left: int
) -> Iterator[Any]:
    if isinstance(value, list):
        for item in reversed(value):
            if isinstance(item, dict) and _knows(item, model):
                yield item
        field = _only_list(model)
        if field is not None and value:
            is_nested = all(isinstance(item, list) and len(item) == 1 for item in value)
            yield {field: [item[0] for item in value] if is_nested else value}
        return
    if not isinstance(value, dict):
        return
    if _knows(value, model) or not (value or document.is_cut):
        yield value
    elif _is_entry(value, model):
        yield {_only_list(model): [value]}
    if left:
        for inner in _wrapped(value, document, model):
            yield from _inner_shapes(inner, document, model, left - 1)


def _wrapped(value: dict[Any, Any], document: Document, model: type[BaseModel]) -> Iterator[Any]:
    """Yield what an object is wrapped around: under a usual name, or under its only key."""
    names = {*_WRAPPERS, normal_name(model.__name__)}
    for key, inner in value.items():
        if normal_name(key) in _known_names(model):
            continue
        if normal_name(key) in names or (document.is_strict and len(value) == 1):
            yield embedded_json(inner) if isinstance(inner, str) else inner
    if isinstance(value.get("tool_calls"), list):
        yield from value["tool_calls"]


def _knows(value: dict[Any, Any], model: type[BaseModel]) -> bool:
    """Return whether an object has a field of a model; any has, where the model has none."""
    names = _known_names(model)
    return not names or any(normal_name(key) in names for key in value)


def _only_list(model: type[BaseModel]) -> str | None:
    """Return the one list field of a model without other required fields, or None."""
    schema = response_schema(model)
    lists = [
        name for name, child in schema.get("properties", {}).items() if child.get("type") == "array"
    ]
    is_alone = len(lists) == 1 and set(schema.get("required", ())) <= set(lists)
    return lists[0] if is_alone else None


def _is_entry(value: Any, model: type[BaseModel]) -> bool:
    field = _only_list(model)
    if field is None or not isinstance(value, dict) or _knows(value, model):
        return False
    schema = response_schema(model)
    entry = resolved(schema["properties"][field].get("items"), schema)
    names = {normal_name(name) for name in entry.get("properties", {})}
    return any(normal_name(key) in names for key in value)


def _entries_one_by_one(
    documents: Sequence[Document], model: type[BaseModel]
) -> Iterator[Document]:
    """Yield the answer that several entries are, written one after another without a list."""
    if len(documents) > 1 and all(_is_entry(each.value, model) for each in documents):
        yield documents[0]._replace(
            value={_only_list(model): [each.value for each in documents]},
            note="read entries without their list",
        )


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _misfit(error: ErrorDetails) -> tuple[str, str, str]:
    place = ".".join(map(str, error["loc"]))[:MAX_NOTE_CHARS]
    kind = _KINDS.get(error["type"])
    context = error.get("ctx") or {}
    if kind == "choice":
        return "choice", place, str(context.get("expected", ""))
    if kind is not None:
        return kind, place, ""
    if error["type"].startswith(_NUMBER_ERRORS):
        limits = [f"{sign} {context[name]:g}" for name, sign in _SIGNS.items() if name in context]
        return "number", place, ", ".join(limits)
    return "form", place, error["msg"].removeprefix("Value error, ")


_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _problem_text(error: ValidationError) -> str:
    problems = _errors(error)
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"[:200]
        for problem in problems[:8]
    ]
    if len(problems) > len(lines):
        lines.append(f"and {len(problems) - len(lines)} more")
    return "; ".join(lines)
