"""`callwise endpoints check`: the configured endpoints probed; a table, and a file of knobs."""

import asyncio
import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callwise.calls import Endpoint, Role
from callwise.calls.errors import (
    AuthFailed,
    CallRefused,
    CallTimeout,
    ConfigError,
    ConnectionFailed,
    QuotaExhausted,
    UnknownModel,
)
from callwise.cli.help_pages import Command, CommandGroup
from callwise.cli.info_commands import opened_app, say_endpoints
from callwise.cli.options import AppOptions, JsonOption, command
from callwise.cli.terminal import EXIT_FAILED, clear_errors, print_json, say

if TYPE_CHECKING:
    from callwise.calls.endpoint_settings import EndpointSettings
    from callwise.calls.trust import Trust
    from callwise.cli.endpoint_probes import ProbeTarget
    from callwise.cli.endpoint_report import Probed

__all__ = ["endpoints"]

HEADER = (
    "# Written by `callwise endpoints check`. Keys are not in it, only their variables' names.\n"
)

NOTHING_SET = """\
No endpoint is set, so every answer is simulated. To use a real one:
  CALLWISE_BASE_URL   where it is, e.g. https://api.deepseek.com/v1
  CALLWISE_MODEL      the model there; CALLWISE_JUDGE_MODEL, _FAST_MODEL, _EMBED_MODEL for one role
  CALLWISE_API_KEY    its key; a server on this machine needs none
Ollama: CALLWISE_BASE_URL=http://127.0.0.1:11434/v1 CALLWISE_MODEL=llama3.2 callwise endpoints check
"""

endpoints = typer.Typer(
    cls=CommandGroup,
    help="The endpoints that answer calls.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@endpoints.callback()
def _endpoints() -> None:
    """Group the commands about endpoints."""


class EndpointsCheckOptions(AppOptions):
    """Options of `callwise endpoints check`."""

    role: Annotated[
        str | None, typer.Option(help="Check this role only: main, judge, fast or embed.")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write what was found as a YAML file of knobs."),
    ] = None
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Time for the whole check.")] = 300.0
    as_json: JsonOption = False


@endpoints.command(cls=Command)
@command
def check(options: EndpointsCheckOptions) -> None:
    """Reach every configured endpoint, and show what it can do.

    Each endpoint is asked a few short calls: one word, one small form, one stream. Refused
    parameters are found, and a file written with --out spares later runs the refusals.
    The exit code is 1 when a role cannot be served.

    CALLWISE_BASE_URL=https://api.deepseek.com/v1 CALLWISE_MODEL=deepseek-chat callwise endpoints
    check --out endpoints.yaml

    callwise endpoints check --set endpoints.judge.model=larger --role judge

    callwise run "hello" --preset endpoints.yaml
    """
    with clear_errors():
        from callwise.calls.trust import EVERYTHING
        from callwise.cli.endpoint_report import document_of, show

        out, (app, settings) = options.out, opened_app(options)
        say_endpoints(settings)
        chosen: Mapping[Role, EndpointSettings] = getattr(settings, "endpoints", {})
        trust: Trust = getattr(settings, "trust", EVERYTHING)
        found = _Check(chosen, os.environ, options.role, trust)
        if out is not None:
            _refuse_to_write(out)
        probed = asyncio.run(found.run(options.max_seconds))
        if options.as_json:
            print_json(document_of(probed))
        else:
            show(probed)
        is_whole = all(each.works for each in probed)
        for each in probed:
            if not each.works:
                say(found.problem_of(each))
        if found.is_default:
            say(NOTHING_SET)
        elif out is not None and is_whole:
            base = options.preset or next(
                (name for name in app.presets() if name == "classic"), None
            )
            out.write_text(found.yaml(probed, base, out), encoding="utf-8")
            say(f'wrote {out}; use it: callwise run "Hello" --preset {_as_preset(out)}')
        elif out is not None:
            say(f"{out} was not written: a role cannot be served")
        if not is_whole:
            raise typer.Exit(EXIT_FAILED)


def _refuse_to_write(out: Path) -> None:
    """Refuse a file that could not be a preset, or that is someone's own.

    Raises:
        ConfigError: naming what to give instead.
    """
    if out.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"--out {out}: a file of knobs ends in .yaml; give {out}.yaml")
    if out.exists() and not out.read_text(encoding="utf-8", errors="replace").startswith(HEADER):
        raise ConfigError(f"{out} exists and is not of this command; choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}; choose another folder") from error


def _as_preset(path: Path) -> str:
    """Return a path as `--preset` takes it; one with spaces is quoted."""
    text = str(path)
    return f'"{text}"' if " " in text else text


@dataclass(slots=True)
class _Check:
    """The endpoints of some settings, and what is asked of them.

    Args:
        chosen: settings by role, as they were given.
        role: the one role to check; None is all.
        trust: what of the settings the user named.
    """

    chosen: "Mapping[Role, EndpointSettings]"
    environ: Mapping[str, str]
    role: str | None
    trust: "Trust"

    @property
    def is_default(self) -> bool:
        """Whether nothing is set, so that the simulated model answers."""
        return not self.chosen and all(each.kind == "simulated" for each in self.whole.values())

    @property
    def whole(self) -> "dict[Role, EndpointSettings]":
        """The whole settings of each role that is checked.

        Raises:
            ConfigError: when there is no such role, or nothing serves it.
        """
        from callwise.calls.role_endpoints import settings_by_role

        whole = settings_by_role(self.chosen, environ=self.environ)
        if self.role is None:
            return whole
        if self.role not in list(Role):
            raise ConfigError(f"--role is one of {', '.join(Role)}; got {self.role!r}")
        role = Role(self.role)
        if role not in whole:
            raise ConfigError(
                f"the role {role} has no model: set CALLWISE_EMBED_MODEL, or endpoints.embed.model"
            )
        return {role: whole[role]}

    def targets(self) -> "list[ProbeTarget]":
        """Return what is probed: roles with the same endpoint, model and settings once.

        Raises:
            ConfigError: when an endpoint is not whole; names the variable to set.
        """
        from callwise.cli.endpoint_probes import ProbeTarget

        groups: dict[Hashable, list[Role]] = {}
        whole = self.whole
        for role, settings in whole.items():
            made = self._made(role, settings)
            is_apart = role is Role.EMBED and settings.kind != "simulated"
            identity = (made.name, made.model, settings.kind, is_apart)
            groups.setdefault(identity, []).append(role)
        return [
            ProbeTarget(
                roles=tuple(roles),
                settings=whole[roles[0]],
                base_url=self._base_url(whole[roles[0]]),
                make=partial(self._made, roles[0]),
                secrets=self._secrets(whole.values()),
            )
            for roles in groups.values()
        ]

    def _made(self, role: Role, settings: "EndpointSettings") -> Endpoint:
        """Return a role's endpoint under other settings, with its own client."""
        from callwise.calls.role_endpoints import endpoints_from_settings

        given = {**self.chosen, role: settings}
        return endpoints_from_settings(given, environ=self.environ, trust=self.trust)[role]

    def _base_url(self, settings: "EndpointSettings") -> str | None:
        from callwise.calls.endpoint_settings import environment_url

        from_environment = environment_url(self.environ).rstrip("/")
        return settings.base_url or (from_environment if settings.kind == "openai" else None)

    def _secrets(self, whole: "Sequence[EndpointSettings] | Any") -> tuple[str, ...]:
        from callwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE

        names = {
            OPENAI_KEY_VARIABLE,
            *(each.api_key_env for asked in whole for each in asked.candidates),
        }
        return tuple(self.environ[name] for name in sorted(names) if self.environ.get(name))

    async def run(self, max_seconds: float) -> "list[Probed]":
        """Probe one endpoint after another.

        Not concurrently: two models on one small machine would slow each other.
        """
        from callwise.cli.endpoint_probes import probe

        deadline = time.monotonic() + max_seconds
        found = []
        for target in self.targets():
            left_seconds = max(deadline - time.monotonic(), 0.0)
            found.append(await probe(target, max_seconds=left_seconds, say=say))
        return found

    def problem_of(self, probed: "Probed") -> str:
        """Return why an endpoint does not work, who needs it, and what to do about it."""
        roles = " and ".join(probed.roles)
        reason = probed.problem or f"{type(probed.error).__name__}: {probed.error}"
        if isinstance(probed.error, CallRefused):  # the only limit is on time
            reason = "no answer in the time there was"
        return f"{roles} at {probed.name} ({probed.model}): {reason}. {self._way_out(probed)}"

    def _way_out(self, probed: "Probed") -> str:
        from callwise.calls.role_endpoints import MODEL_VARIABLES

        role = probed.roles[0]
        whole = self.whole[role]
        error = probed.error
        if isinstance(error, AuthFailed):
            return f"Set {whole.api_key_env} to a key of {probed.name}"
        if isinstance(error, QuotaExhausted):
            return f"The key in {whole.api_key_env} has no quota left: add some"
        if isinstance(error, UnknownModel):
            known = f" to one of: {', '.join(probed.models[:5])}" if probed.models else ""
            return f"Set {self._set_by(role, 'model', MODEL_VARIABLES[role])}{known}"
        if isinstance(error, CallRefused):
            return "Give it more: --max-seconds"
        if isinstance(error, ConnectionFailed | CallTimeout):
            where = self._set_by(role, "base_url", "CALLWISE_BASE_URL")
            return f"Is the server running, and is {where} right?"
        if probed.problem is not None:
            return f"Set {self._set_by(role, 'model', MODEL_VARIABLES[role])} to a larger model"
        main = Role.MAIN if role not in self.chosen else role
        return f"Set the requests sent to it under endpoints.{main}"

    def _set_by(self, role: Role, name: str, variable: str) -> str:
        """Return what sets a setting of a role: its own knob, one of `main`, a variable."""
        for owner in (role, Role.MAIN):
            settings = self.chosen.get(owner)
            if settings is not None and getattr(settings, name) is not None:
                return f"endpoints.{owner}.{name}"
        return variable

    def yaml(self, probed: "Sequence[Probed]", preset: str | None, out: Path) -> str:
        """Return the settings with what was found out, as a file of knobs.

        Args:
            preset: the preset that the file extends; None for none.
        """
        import yaml

        whole = self.whole
        by_role = {role: each for each in probed for role in each.roles}
        written: dict[str, Any] = {}
        for role, settings in whole.items():
            entry = self._entry(settings, by_role[role])
            main = written.get(str(Role.MAIN))
            # A role has what `main` has, but for what belongs to its own model.
            written[str(role)] = (
                entry if main is None else {k: v for k, v in entry.items() if main.get(k) != v}
            )
            if main is not None and entry.get("model") != main.get("model"):
                written[str(role)] = entry
        kept = {role: entry for role, entry in written.items() if entry}
        base = {} if preset is None else {"extends": _base_of(preset, out)}
        document = {**base, "endpoints": kept}
        return HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)

    def _entry(self, settings: "EndpointSettings", probed: "Probed") -> dict[str, Any]:
        from callwise.calls.hosts import shown_url

        entry = settings.model_dump(mode="json", exclude_unset=True)
        entry = {name: value for name, value in entry.items() if value is not None}
        if settings.kind != "openai":
            return entry
        entry.pop("kind", None)  # it follows from the base URL
        base_url = self._base_url(settings) or ""
        # A URL with what may be a key in it stays where it is: in the environment, or a preset.
        entry.pop("base_url", None)
        if shown_url(base_url) == base_url:
            entry["base_url"] = base_url
        known = probed.capabilities
        if probed.schema_mode is not None:
            entry["schema_mode"] = probed.schema_mode
        if known is not None:
            entry |= {
                "token_limit_field": known.token_limit_field,
                "system_role": known.system_role,
                "refused": sorted(known.refused),
            }
            if known.max_output_tokens is not None:
                entry["max_output_tokens"] = known.max_output_tokens
        if probed.context_tokens is not None:
            entry["context_tokens"] = probed.context_tokens
        return entry


def _base_of(preset: str, out: Path) -> str:
    """Return a preset's name, or its path as the written file has to name it."""
    if not preset.endswith((".yaml", ".yml")) and "/" not in preset:
        return preset
    return Path(os.path.relpath(preset, out.parent)).as_posix()
