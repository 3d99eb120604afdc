"""Where the shipped presets and conversations are: in the wheel, or beside the source."""

from pathlib import Path

from callwise.calls.errors import ConfigError

__all__ = ["configs_folder", "conversation_path"]


def configs_folder() -> Path:
    """Return the folder of shipped presets; its `conversations/` holds the shipped ones.

    Raises:
        ConfigError: when the installation has lost it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "classic.yaml").is_file():
            return folder
    raise ConfigError(f"the shipped presets are missing beside {package}; install callwise again")


def conversation_path(name: str) -> Path:
    """Return the path of a shipped conversation.

    Raises:
        ConfigError: when there is none of this name; names those that are there.
    """
    folder = configs_folder() / "conversations"
    path = folder / name
    if not path.is_file():
        known = ", ".join(sorted(item.name for item in folder.glob("*.jsonl")))
        raise ConfigError(f"no shipped conversation {name!r}; there are: {known}")
    return path
