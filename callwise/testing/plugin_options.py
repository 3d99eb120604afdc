"""Options of the pytest plugin, and what a fixture is given: options and location of its test."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

__all__ = ["FixtureSetup", "add_options", "refusal_in_ci", "setup_of"]

_MAX_NAME_CHARS, _MAX_NAME_BYTES = 100, 200

_DEVICES = frozenset(
    {"aux", "con", "nul", "prn", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices, with any ending."""


def _is_file_name(name: str) -> bool:
    """Return whether a name is a file name on every system, and never a path."""
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
class FixtureSetup:
    """Settings that a fixture is given.

    Args:
        test: node id of the test, or of the module whose fixture it is; empty for the session.
        name: the test function's name; the conversation of calls outside of every turn.
        file: the test's file; for the session, a file in pytest's root folder.
        folder: the fixture's own temporary folder, for runs.
        is_updating: whether baselines are written instead of compared.
        is_live: whether real endpoints may be asked, as they must be to record one.
        is_recording: whether calls that a cassette lacks are asked and recorded.
        quarantine: the quarantine's file; None where there is none.
        baselines: the folder of all baselines, with the folders of the test files in it; None
            is `baselines` next to each test file.
        today: the day that ends entries of the quarantine.
    """

    test: str
    name: str
    file: Path
    folder: Path
    root: Path
    is_updating: bool = False
    is_live: bool = False
    is_recording: bool = False
    quarantine: Path | None = None
    baselines: Path | None = None
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    def baseline_path(self, name: str) -> Path:
        """Return the path of a baseline.

        Args:
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
        here = self.file.parent
        if self.baselines is None:
            return here / "baselines" / f"{name}.json"
        # Two packages may use one name.
        inside = here.relative_to(self.root) if here.is_relative_to(self.root) else Path()
        return self.baselines / inside / f"{name}.json"

    def find(self, given: str | Path) -> Path:
        """Return a file that a test names: next to the test first, then from the root folder.

        Raises:
            ConfigError: when it is in neither.
        """
        candidates = [self.file.parent / given, self.root / given]
        for path in candidates:
            if path.exists():
                return path
        from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

        looked = " and ".join(dict.fromkeys(str(path) for path in candidates))
        raise ConfigError(f"there is no {given}; looked for {looked}")

    def find_cassette(self, given: str | Path) -> Path:
        """Return the cassette that a test names; a new one is made next to the test's file.

        Raises:
            ConfigError: when there is none to play; with the command that records it.
        """
        from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

        try:
            return self.find(given)
        except ConfigError as error:
            if self.is_recording:
                path = self.file.parent / given
                path.parent.mkdir(parents=True, exist_ok=True)
                return path
            raise ConfigError(
                f"{error}. Record it: pytest {self.test} --callwise-record, with the endpoint in "
                "CALLWISE_BASE_URL and CALLWISE_MODEL, or as the model's client; or a replay's: "
                f"callwise replay CONVERSATION --preset NAME --record {given}"
            ) from None


def setup_of(
    request: pytest.FixtureRequest, *, name: str, file: Path, folder: Path
) -> FixtureSetup:
    """Return what a fixture is given.

    Precedence, first that is given: the option on the command line, the entry of the ini
    file, the default. A relative path of an option is taken from where pytest was started,
    one of an ini entry from the root folder, where the ini file is.
    """
    config = request.config
    option, entry = config.getoption("callwise_quarantine"), config.getini("callwise_quarantine")
    baselines = config.getini("callwise_baselines")
    quarantine = config.rootpath / entry if entry else None
    return FixtureSetup(
        test=request.node.nodeid,
        name=name,
        file=file,
        folder=folder,
        root=config.rootpath,
        is_updating=bool(config.getoption("callwise_update")),
        is_live=bool(config.getoption("callwise_live")),
        is_recording=bool(config.getoption("callwise_record")),
        quarantine=config.invocation_params.dir / option if option else quarantine,
        baselines=config.rootpath / baselines if baselines else None,
    )


_FLAGS = {
    "--callwise-update": "write the baselines of tests that pass, and list which changed",
    "--callwise-live": "ask real endpoints; without it nothing is sent",
    "--callwise-record": (
        "ask what a test's cassette lacks, real endpoints too, and record it there"
    ),
    "--callwise-in-ci": "let --callwise-update and --callwise-record write files under CI too",
}


def add_options(parser: pytest.Parser) -> None:
    """Add the options and the ini entries."""
    group = parser.getgroup("callwise", "calls per turn")
    for flag, text in _FLAGS.items():
        group.addoption(flag, action="store_true", help=text)
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
