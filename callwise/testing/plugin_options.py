"""Options of the plugin, their precedence, and the location of a test."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

__all__ = ["FixtureLocation", "PluginChoices", "add_options", "choices_of", "refusal_in_ci"]


_MAX_NAME_CHARS, _MAX_NAME_BYTES = 100, 200


_DEVICES = frozenset(
    {"aux", "con", "nul", "prn", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices, with any ending."""


def _is_file_name(name: str) -> bool:
    """Return whether a baseline may be called so: a file name on every system, never a path."""
    kinds = [unicodedata.category(char)[0] for char in name]
    return (
        bool(name)
        and kinds[0] in "LN"
        and not name.endswith(".")
        and all(kind in "LNM" or char in "._-" for char, kind in zip(name, kinds, strict=True))
        and len(name) <= _MAX_NAME_CHARS
        and len(name.encode()) <= _MAX_NAME_BYTES
        and name.partition(".")[0].lower() not in _DEVICES
    )


@dataclass(frozen=True, slots=True)
class PluginChoices:
    """What this run of pytest was asked to do.

    Args:
        is_updating: baselines are written instead of compared.
        is_live: real endpoints may be asked, as they must be to record one.
        is_recording: what a test's cassette lacks is asked and recorded.
        quarantine: the quarantine's file; None where there is none.
        baselines: the folder of all baselines, with the folders of the test files in it; None
            is `baselines` next to each test file.
        root: pytest's root folder.
    """

    is_updating: bool
    is_live: bool
    quarantine: Path | None
    baselines: Path | None
    root: Path
    is_recording: bool = False

    def baseline_path(self, test_file: Path, name: str) -> Path:
        """Return where the baseline of a name is.

        Args:
            test_file: the file of the test that asks.
            name: letters and digits of any script, `.`, `_` and `-`; at most 100 of them and
                200 bytes, the first a letter or a digit, the last no `.`.

        Raises:
            ConfigError: when the name could be a path, or is no file's name.
        """
        if not _is_file_name(name):
            from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

            raise ConfigError(
                f"a baseline cannot be called {name!r}: use letters, digits, '.', '_' and '-' "
                f"only, at most {_MAX_NAME_CHARS}, and begin with a letter or a digit; it names a "
                "file, not a path"
            )
        here = test_file.parent
        if self.baselines is None:
            return here / "baselines" / f"{name}.json"
        # Two packages may use one name.
        inside = here.relative_to(self.root) if here.is_relative_to(self.root) else Path()
        return self.baselines / inside / f"{name}.json"


def add_options(parser: pytest.Parser) -> None:
    """Add the options and the ini entries."""
    group = parser.getgroup("callwise", "calls per turn")
    group.addoption(
        "--callwise-update",
        action="store_true",
        help="write the baselines of tests that pass, and list which changed",
    )
    group.addoption(
        "--callwise-live",
        action="store_true",
        help="ask real endpoints; without it nothing is sent",
    )
    group.addoption(
        "--callwise-record",
        action="store_true",
        help="ask what a test's cassette lacks, real endpoints too, and record it there",
    )
    group.addoption(
        "--callwise-in-ci",
        action="store_true",
        help="let --callwise-update and --callwise-record write files under CI too",
    )
    group.addoption(
        "--callwise-quarantine",
        metavar="FILE",
        help="cases that are known to be flaky, each with an owner and an end date",
    )
    parser.addini(
        "callwise_baselines",
        "folder of all baselines, in subfolders like the test files; default: `baselines` next to "
        "each test file",
    )
    parser.addini("callwise_quarantine", "the same as --callwise-quarantine, which goes before it")


def refusal_in_ci(config: pytest.Config, environ: Mapping[str, str]) -> str:
    """Return why this run may not write its files; empty where it may.

    Under CI nothing would be compared, and what is written is lost: the gate would be open.
    """
    asked = [
        name
        for name in ("--callwise-update", "--callwise-record")
        if config.getoption(name.strip("-").replace("-", "_"))
    ]
    is_ci = environ.get("CI", "").strip().lower() not in {"", "0", "false", "no", "off"}
    if not asked or not is_ci or config.getoption("callwise_in_ci"):
        return ""
    return (
        f"{' and '.join(asked)} under CI (the environment variable CI is set) would compare "
        "nothing and write files that are not committed; run it on your machine and commit the "
        "files, or add --callwise-in-ci where that is meant"
    )


def choices_of(config: pytest.Config) -> PluginChoices:
    """Return what was chosen.

    Precedence, first that is given: the option on the command line, the entry of the ini
    file, the default. A relative path of an option is taken from where pytest was started,
    one of an ini entry from the root folder, where the ini file is.
    """
    root = config.rootpath
    option, entry = config.getoption("callwise_quarantine"), config.getini("callwise_quarantine")
    quarantine = None
    if option:
        quarantine = config.invocation_params.dir / option
    elif entry:
        quarantine = root / entry
    folder = config.getini("callwise_baselines")
    return PluginChoices(
        is_updating=bool(config.getoption("callwise_update")),
        is_live=bool(config.getoption("callwise_live")),
        is_recording=bool(config.getoption("callwise_record")),
        quarantine=quarantine,
        baselines=root / folder if folder else None,
        root=root,
    )


@dataclass(frozen=True, slots=True)
class FixtureLocation:
    """Where a test is, or the module or session whose fixture it uses.

    Args:
        test: its node id; empty for the session.
        name: its function's name; the conversation of calls outside of every turn.
        file: its file; for the session, a file in pytest's root folder.
        folder: its own folder, for runs.
        today: the day, for the ends of quarantines.
    """

    test: str
    name: str
    file: Path
    folder: Path
    today: date
