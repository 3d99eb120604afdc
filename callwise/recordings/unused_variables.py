"""Environment variables that look as if they chose a model and do not, as sentences for a user."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from callwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from callwise.calls.hosts import openai_url
from callwise.knobs import misspelt_variables
from callwise.recordings.app_protocol import App

__all__ = ["unused_variables"]


def unused_variables(app: App, settings: BaseModel, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield misspelt variables, and OpenAI's own that a simulated model leaves unused."""
    yield from misspelt_variables(environ, [app.settings_model()], str(settings))
    names = [name for name in (OPENAI_KEY_VARIABLE, "OPENAI_BASE_URL") if environ.get(name)]
    if names and not getattr(settings, "endpoints", None) and app.is_simulated(settings):
        yield (
            f"{' and '.join(names)} not used, because no model is named: the simulated model "
            f"answers. Set CALLWISE_MODEL to ask {openai_url(environ)}."
        )
