"""The plugin's options: what each is called, and which of two places that say it counts."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Choices", "add_options", "choices_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
"""What a baseline may be called: one file name on every system, and never a path."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What this run of pytest was asked to do.

    Args:
        is_updating: baselines are written instead of compared.
        is_live: real endpoints may be asked.
        quarantine: the quarantine's file; None where there is none.
        baselines: the folder of all baselines; None is `baselines` beside each test file.
        root: pytest's root folder.
    """

    is_updating: bool
    is_live: bool
    quarantine: Path | None
    baselines: Path | None
    root: Path

    def baseline_path(self, test_file: Path, name: str) -> Path:
        """Return where the baseline of a name stands.

        Args:
            test_file: the file of the test that asks.
            name: letters, digits, `.`, `_` and `-`; at most 100, the first no sign.

        Raises:
            ConfigError: when the name could be a path, or no file's name.
        """
        if not _NAME.match(name):
            from turnwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

            raise ConfigError(
                f"a baseline cannot be called {name!r}: use letters, digits, '.', '_' and '-' "
                "only, and begin with a letter or a digit; it names a file, not a path"
            )
        folder = self.baselines or test_file.parent / "baselines"
        return folder / f"{name}.json"


def add_options(parser: pytest.Parser) -> None:
    """Tell pytest the options and the ini entries."""
    group = parser.getgroup("turnwise", "calls a turn")
    group.addoption(
        "--turnwise-update",
        action="store_true",
        help="write the baselines of tests that pass, and say which changed",
    )
    group.addoption(
        "--turnwise-live",
        action="store_true",
        help="ask real endpoints; without it nothing is sent",
    )
    group.addoption(
        "--turnwise-quarantine",
        metavar="FILE",
        help="cases that are known to be flaky, each with an owner and an end date",
    )
    parser.addini(
        "turnwise_baselines", "folder of all baselines; default: `baselines` beside each test file"
    )
    parser.addini("turnwise_quarantine", "the same as --turnwise-quarantine, which goes before it")


def choices_of(config: pytest.Config) -> Choices:
    """Return what was chosen.

    Precedence, first that is given: the option on the command line, the entry of the ini
    file, the default. A relative path of an option is taken from where pytest was started,
    one of an ini entry from the root folder, where the ini file is.
    """
    root = config.rootpath
    option, entry = config.getoption("turnwise_quarantine"), config.getini("turnwise_quarantine")
    quarantine = None
    if option:
        quarantine = config.invocation_params.dir / option
    elif entry:
        quarantine = root / entry
    folder = config.getini("turnwise_baselines")
    return Choices(
        is_updating=bool(config.getoption("turnwise_update")),
        is_live=bool(config.getoption("turnwise_live")),
        quarantine=quarantine,
        baselines=root / folder if folder else None,
        root=root,
    )
