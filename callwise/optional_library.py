"""Libraries of the extras, imported when they are first needed."""

from importlib import import_module
from typing import Any

from callwise.calls.errors import ConfigError

__all__ = ["install_hint", "loaded"]


def install_hint(extra: str) -> str:
    """Return the command that installs an extra.

    It names a checkout and no name of a package index, where another project may have it.
    """
    return f"pip install '.[{extra}]' in a checkout of Callwise"


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
        raise ConfigError(need or figures + install_hint("tune")) from error
