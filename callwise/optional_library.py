"""Libraries of the extras, imported when they are first needed."""

from importlib import import_module
from typing import Any

from callwise.calls.errors import ConfigError

__all__ = ["loaded"]


def loaded(module: str, need: str = "") -> Any:
    """Return a library of an extra.

    Args:
        need: the error where it is not installed; empty takes that of figures.

    Raises:
        ConfigError: when it is not installed; names the extra.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        figures = f"figures need {library}, which is not installed. Install it with: "
        raise ConfigError(need or f"{figures}pip install 'callwise[tune]'") from error
