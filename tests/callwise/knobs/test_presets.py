"""Presets: YAML on YAML, and what is said of a file that cannot be read."""

from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs import load_preset, preset_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a small family of presets."""
    write(tmp_path, "classic", "search:\n  rollouts: 4\n  tags: [a, b]\nmode: off\n")
    write(tmp_path, "lean", "extends: classic\nsearch:\n  rollouts: 2\n  tags: [c]\n")
    write(tmp_path, "leaner", "extends: lean\nmode: null\n")
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    """Write a preset and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_preset_extends_another(folder: Path) -> None:
    """Groups are merged; lists, text and null replace what is below."""
    expected = {"search": {"rollouts": 2, "tags": ["c"]}, "mode": None}
    assert load_preset("leaner", folder) == expected
    assert preset_names(folder) == ["classic", "lean", "leaner"]


def test_a_path_is_a_preset_too(folder: Path, tmp_path: Path) -> None:
    """A file anywhere may extend a named preset, or a file in the same folder."""
    own = tmp_path / "own"
    own.mkdir()
    write(own, "base", "extends: classic\nseed: 7\n")
    mine = write(own, "mine", "extends: ./base.yaml\nmode: fast\n")
    assert load_preset(mine, folder)["seed"] == 7
    assert load_preset(str(mine), folder)["mode"] == "fast"


def test_scalars_are_those_of_yaml_1_2(folder: Path) -> None:
    """`off`, `yes`, `1:30` and `012` are text, `1e-3` is a number, and empty is null."""
    write(folder, "scalars", "a: off\nb: yes\nc: 1:30\nd: 1e-3\ne:\nf: -2\ng: true\nh: 012\n")
    assert load_preset("scalars", folder) == {
        "a": "off",
        "b": "yes",
        "c": "1:30",
        "d": 0.001,
        "e": None,
        "f": -2,
        "g": True,
        "h": "012",
    }


def test_an_empty_file_changes_nothing(folder: Path) -> None:
    """A preset of comments only is all defaults."""
    write(folder, "empty", "# nothing yet\n")
    assert load_preset("empty", folder) == {}


def test_an_unknown_preset_names_the_nearest(folder: Path) -> None:
    """A misspelt name gets the nearest one and the list."""
    with pytest.raises(ConfigError, match=r"'clasic'; did you mean classic\? \(presets: classic,"):
        load_preset("clasic", folder)


def test_a_preset_file_without_its_ending_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is of a shipped preset; a file of the working directory has its ending."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    write(here, "my preset", "mode: on\n")
    with pytest.raises(ConfigError, match=r"did you mean the file 'my preset\.yaml'"):
        load_preset("my preset", folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    """A path that leads nowhere is quoted unchanged."""
    with pytest.raises(ConfigError, match=r"no preset file .*nowhere\.yaml"):
        load_preset("./nowhere.yaml", folder)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is given twice"),
        ("a: 1\n  b: 2\n", 2, "mapping values are not allowed"),
        ("- 1\n- 2\n", 1, "expected a mapping"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "could not determine a constructor"),
        ("? [a, b]\n: 1\n", 1, "expected a name as key"),
        ("extends: [a, b]\n", None, "names one preset"),
        ("extends: broken\n", None, "circle: broken.yaml -> broken.yaml"),
    ],
)
def test_a_broken_file_is_located(folder: Path, text: str, line: int | None, problem: str) -> None:
    """What is wrong is said with the file, and the line where there is one."""
    path = write(folder, "broken", text)
    with pytest.raises(FormatError, match=problem) as caught:
        load_preset("broken", folder)
    assert caught.value.line == line
    assert caught.value.path == path


def test_text_that_is_not_utf_8_is_refused(folder: Path) -> None:
    """A file in another encoding is an error and not garbage."""
    (folder / "latin.yaml").write_bytes("a: café".encode("latin-1"))
    with pytest.raises(FormatError, match="UTF-8"):
        load_preset("latin", folder)


def test_a_preset_named_in_a_file_is_what_it_starts_from(folder: Path, tmp_path: Path) -> None:
    """`preset` means what `extends` means, at any depth; it never is a mere label."""
    own = tmp_path / "own"
    own.mkdir()
    write(own, "base", "preset: lean\nseed: 7\n")
    mine = write(own, "mine", "preset: ./base.yaml\nmode: fast\n")
    assert load_preset(mine, folder) == {**load_preset("lean", folder), "seed": 7, "mode": "fast"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("preset: lean\nextends: classic\n", "keep one of them"),
        ("preset: [lean]\n", "`preset` names one preset"),
        ("preset: 3\n", "`preset` names one preset"),
    ],
)
def test_a_preset_is_named_once_and_by_its_name(folder: Path, text: str, words: str) -> None:
    """Two names, or something that is no name, is an error of that file."""
    with pytest.raises(FormatError, match=words):
        load_preset(write(folder, "mine", text), folder)


def test_a_misspelt_preset_in_a_file_names_the_nearest(folder: Path) -> None:
    """As on the command line."""
    with pytest.raises(ConfigError, match="did you mean lean"):
        load_preset(write(folder, "mine", "preset: laen\n"), folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)),
            "expand to more than",
        ),
        ("a: &a {b: *a}\n", "contains it"),
        ("a: &a [[*a]]\n", "contains it"),
        ("a: !!python/object/apply:os.abort []\n", "tag"),
        ("a: !!python/name:os.abort\n", "tag"),
    ],
)
def test_a_strangers_yaml_is_plain_and_small(tmp_path, text, words):
    """Aliases that stand for a billion values, circles and objects are refused."""
    path = tmp_path / "theirs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=words):
        load_preset(path, tmp_path)


def test_an_alias_is_a_shorter_way_to_write_a_value(tmp_path):
    """As people use it."""
    path = tmp_path / "own.yaml"
    path.write_text("a: &a {b: 1}\nc: *a\n", encoding="utf-8")
    assert load_preset(path, tmp_path) == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"seed: {2**63}", "more than 64 bits"),
        (f"seed: [-{2**63 + 1}]", "more than 64 bits"),
        (f"a: {'[' * 70}{']' * 70}", "nested deeper than 64 levels"),
        ("a: 1\n" * 250_000, "1,250,000 bytes, and at most 1,000,000 characters"),
    ],
)
def test_a_preset_that_nothing_can_write_down_is_refused(
    folder: Path, text: str, problem: str
) -> None:
    """A number, a depth or a length that would end a run in a traceback or a long wait."""
    with pytest.raises(FormatError, match=problem):
        load_preset(write(folder, "odd", text), folder)


def test_a_preset_extends_no_file_that_is_no_preset(folder: Path, tmp_path: Path) -> None:
    """An error about it would repeat what is in there."""
    (tmp_path / "secret").write_text("token: abc\n", encoding="utf-8")
    for name in (tmp_path / "secret", "./secret"):
        with pytest.raises(FormatError, match=r"ends in \.yaml or \.yml") as caught:
            load_preset(write(folder, "odd", f"extends: {name}"), folder)
        assert "token" not in str(caught.value)


def test_a_folder_of_no_user_is_a_clear_error(folder: Path) -> None:
    """`~name` is looked up, and may not be found."""
    with pytest.raises(ConfigError, match="there is no preset file ~no-such-user"):
        load_preset(write(folder, "odd", "extends: ~no-such-user/a.yaml"), folder)


def test_what_a_caller_changes_is_not_read_by_the_next(tmp_path: Path) -> None:
    """A text that was read before gives the same data again, and a changed file gives its own."""
    path = tmp_path / "mine.yaml"
    path.write_text("search: {stages: [1, 2]}\n", encoding="utf-8")
    first = load_preset(path, tmp_path)
    first["search"]["stages"].append(3)
    assert load_preset(path, tmp_path)["search"]["stages"] == [1, 2]
    path.write_text("search: {stages: [4]}\n", encoding="utf-8")
    assert load_preset(path, tmp_path)["search"]["stages"] == [4]
