"""Knobs from environment variables: `CALLWISE__SEARCH__ROLLOUTS=2` is `search.rollouts=2`.

The parts of a knob's name stand between double underscores, in capitals or not; the value
is YAML, as on the right side of `--set`. They go before presets and after overrides. An
empty variable counts as not set, and a misspelt one is an error: a knob that silently does
nothing is worse than none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from callwise.calls.errors import ConfigError
from callwise.calls.trust import Trust, TrustedSettings
from callwise.knobs.knob_paths import validate
from callwise.knobs.presets import Overrides, apply_overrides, parse_overrides, whole_path

__all__ = ["EnvironmentKnob", "environment_knobs", "own_trust", "settings_from"]

PREFIX = "CALLWISE__"

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class EnvironmentKnob:
    """One knob that the environment sets.

    Args:
        text: its value, as YAML.
    """

    variable: str
    path: str
    text: str

    @property
    def override(self) -> str:
        """The same as an override: `knob=value`."""
        return f"{self.path}={self.text}"


def environment_knobs(
    environ: Mapping[str, str], model_cls: type[BaseModel]
) -> list[EnvironmentKnob]:
    """Return the knobs that environment variables set, groups before what is in them.

    Raises:
        ConfigError: for a variable that names no knob, with the nearest ones, or a knob
            that two variables set, or a value that is not YAML.
    """
    found: dict[str, EnvironmentKnob] = {}
    for variable, text in environ.items():
        is_like_a_knob = variable.upper().startswith("CALLWISE_") and "__" in variable
        if not is_like_a_knob or not text.strip():
            continue
        try:
            knob = _knob(variable, text.strip(), model_cls)
        except ConfigError as error:
            raise ConfigError(f"the environment variable {variable}: {error}") from error
        if knob.path in found:
            raise ConfigError(
                f"the environment variables {found[knob.path].variable} and {variable} set the "
                f"same knob, {knob.path}: unset one of them"
            )
        found[knob.path] = knob
    return [found[path] for path in sorted(found)]


def _knob(variable: str, text: str, model_cls: type[BaseModel]) -> EnvironmentKnob:
    if not variable.upper().startswith(PREFIX):
        meant = PREFIX + variable[len("CALLWISE_") :]
        raise ConfigError(f"a knob's variable begins with {PREFIX}; write {meant}")
    path = whole_path(variable[len(PREFIX) :].replace("__", ".").lower(), model_cls)
    knob = EnvironmentKnob(variable, path, text)
    apply_overrides({}, [knob.override])  # which reads its value
    return knob


def settings_from(
    model_cls: type[ModelT],
    data: Mapping[str, Any],
    *,
    overrides: Overrides,
    environ: Mapping[str, str],
    is_file: bool = False,
) -> ModelT:
    """Return settings from a preset's data, the environment over it, and overrides over both.

    Args:
        is_file: whether the data are of a file that was named by its path, and may be
            anybody's: the settings then know what of them the user named as well.

    Raises:
        ConfigError: as `environment_knobs`, `apply_overrides` and `validate` do; a wrong value
            that the environment set names its variable.
    """
    taken = environment_knobs(environ, model_cls)
    given = parse_overrides(overrides)
    below = apply_overrides(data, [knob.override for knob in taken], model_cls)
    merged = apply_overrides(below, given, model_cls)
    named_later = {whole_path(name, model_cls) for name in given}
    sources = {knob.path: knob.variable for knob in taken if knob.path not in named_later}
    settings = validate(model_cls, merged, sources=sources)
    if not is_file or not isinstance(settings, TrustedSettings):
        return settings
    return settings.trusting(own_trust(model_cls, overrides, environ, allows_this_machine=True))


def own_trust(
    model_cls: type[BaseModel],
    overrides: Overrides,
    environ: Mapping[str, str],
    *,
    allows_this_machine: bool = False,
) -> Trust:
    """Return what overrides and the environment name of endpoints and folders."""
    taken = [knob.override for knob in environment_knobs(environ, model_cls)]
    own = apply_overrides(apply_overrides({}, taken, model_cls), overrides, model_cls)
    cache = own.get("cache")
    cache = cache if isinstance(cache, Mapping) else {}
    disk, warm_from = cache.get("disk"), cache.get("warm_from")
    cassettes = warm_from if isinstance(warm_from, list | tuple) else ()
    metrics = own.get("metrics")
    textfile = metrics.get("textfile") if isinstance(metrics, Mapping) else None
    queues = _queue_files({name: own.get(name) for name in ("load", "endpoints")})
    traces = own.get("traces")
    collector = traces.get("otlp_endpoint") if isinstance(traces, Mapping) else None
    trust = Trust.of_own(
        own.get("endpoints"),
        environ,
        folders=[str(path) for path in (disk, textfile, *cassettes, *queues) if path is not None],
        allows_this_machine=allows_this_machine,
    )
    return trust.confirming([collector]) if isinstance(collector, str) and collector else trust


def _queue_files(part: object) -> Iterator[Path]:
    """Yield the files of queues of background work that some settings name, also of endpoints."""
    if isinstance(part, list | tuple):
        for each in part:
            yield from _queue_files(each)
    elif isinstance(part, Mapping):
        for name, value in part.items():
            if name == "background" and isinstance(value, Mapping) and "file" in value:
                yield Path(str(value["file"]))
            yield from _queue_files(value)
