"""Rows as tables come back as the rows they were."""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.tuning.row import (
    FIELDS,
    Coverage,
    TurnRow,
    row_figures,
    row_from_figures,
    row_from_json,
)
from callwise.tuning.setting import make_setting
from callwise.tuning.table_files import (
    _columns,
    frame,
    read_csv,
    read_parquet,
    write_csv,
    write_parquet,
)
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

Write = Callable[[Path, Iterable[TurnRow]], None]
Read = Callable[[Path], Iterator[TurnRow]]

ROWS = ScriptedEvaluator().evaluate([make_setting("balanced", {}, {})])[0].rows
FORMS = pytest.mark.parametrize(
    ("write", "read"),
    [(write_csv, read_csv), (write_parquet, read_parquet)],
    ids=["csv", "parquet"],
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
COUNTS = st.dictionaries(TEXTS, st.integers(1, 99), max_size=2)
KINDS = {
    str: TEXTS,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    Coverage: st.sampled_from(Coverage),
    dict: COUNTS,
}


def _field(kind: type, *, may_be_none: bool) -> st.SearchStrategy[object]:
    return st.none() | KINDS[kind] if may_be_none else KINDS[kind]


ANY_ROW = st.builds(
    TurnRow,
    **{name: _field(each.kind, may_be_none=each.may_be_none) for name, each in FIELDS.items()},
)


@FORMS
@settings(derandomize=True)
@given(rows=st.lists(ANY_ROW, max_size=3))
def test_any_rows_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, write: Write, read: Read, rows: list[TurnRow]
) -> None:
    """To the last digit, with whatever an id may contain, and None apart from 0."""
    path = tmp_path_factory.mktemp("rows") / "rows"
    write(path, rows)
    assert list(map(repr, read(path))) == list(map(repr, _sorted_maps(rows)))


def _sorted_maps(rows: Iterable[TurnRow]) -> list[TurnRow]:
    return [row_from_figures(row_figures(row)) for row in rows]


def _by_name(row: TurnRow) -> dict[str, object]:
    return dict(zip(FIELDS, row_figures(row), strict=True))


def test_columns_are_named_and_filled_as_the_fields_of_a_row() -> None:
    """The fields in their order; a map has a column for each of its names, sorted."""
    for row in ROWS:
        expected: dict[str, object] = {}
        for name in FIELDS:
            value = getattr(row, name)
            if isinstance(value, Mapping):
                expected.update({f"{name}.{part}": value[part] for part in sorted(value)})
            else:
                expected[name] = str(value) if isinstance(value, Coverage) else value
        flat = {column.name: column.of(row) for column in _columns([row])}
        assert list(flat.items()) == list(expected.items())
        assert list(map(type, flat.values())) == list(map(type, expected.values()))


@FORMS
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, write: Write, read: Read) -> None:
    """And no half-written file is left there."""
    write(tmp_path / "one", ROWS)
    write(tmp_path / "two", list(read(tmp_path / "one")))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["one", "two"]


def test_columns_are_those_of_all_rows_and_absent_counts_are_0(tmp_path: Path) -> None:
    """A row without judge calls has 0 of them, not nothing."""
    rows = [replace(ROWS[0], asked_by_role={"judge": 3}), ROWS[1]]
    write_csv(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    names = ["asked_by_role.fast", "asked_by_role.judge", "asked_by_role.main"]
    assert [[line[name] for name in names] for line in table] == [["0", "3", "0"], ["2", "0", "4"]]
    assert list(table[0]) == [column.name for column in _columns(rows)]
    assert table[0]["usd"] == ""
    assert table[0]["is_simulated"] == "true"
    assert list(read_csv(tmp_path / "rows.csv")) == rows


def test_a_table_with_an_earlier_name_of_a_column_is_read(tmp_path: Path) -> None:
    """The column was renamed."""
    path = tmp_path / "rows.csv"
    write_csv(path, ROWS)
    path.write_text(path.read_text().replace("coverage", "standing", 1))
    assert list(read_csv(path)) == list(ROWS)


def test_ids_that_a_spreadsheet_would_run_are_kept_as_they_are(tmp_path: Path) -> None:
    """The file is data; the page shows how to import it."""
    rows = [replace(ROWS[0], conversation=name) for name in ("=1+1", "+1", "-1", "@x", 'a,"b"\r\n')]
    write_csv(tmp_path / "rows.csv", rows)
    assert [row.conversation for row in read_csv(tmp_path / "rows.csv")] == [
        row.conversation for row in rows
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected_error"),
    [
        ("turn,", "trun,", r":2: .*unknown column 'trun'"),
        (",seed,", ",turn,", r":2: .*the field 'seed' is missing"),
        ("balanced,talk-0,0,", "balanced,talk-0,x,", r":2: .*turn is 'x', expected int"),
        ("balanced,talk-0,0,", "balanced,talk-0,,", r":2: .*turn is '', expected int"),
        ("balanced,talk-0,1,", "balanced,talk-0,", r":3: expected \d+ cells"),
        (",true", ",yes", r":\d: .*is 'yes', expected bool"),
        ("balanced,talk-0,1,", 'balanced,"talk-0"x,1,', r":3: expected rows"),
    ],
)
def test_a_table_that_was_changed_is_an_error_with_its_line(
    tmp_path: Path, old: str, new: str, expected_error: str
) -> None:
    """Columns and cells that cannot be."""
    path = tmp_path / "rows.csv"
    write_csv(path, ROWS)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=expected_error):
        list(read_csv(path))


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_a_table_that_cannot_be_opened_is_a_clear_error(tmp_path: Path, read: Read) -> None:
    """It is not there."""
    with pytest.raises(ConfigError, match="cannot read"):
        list(read(tmp_path / "absent"))


def test_a_file_that_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    """The error names rows as what was expected."""
    (tmp_path / "rows.parquet").write_text("rows")
    with pytest.raises(FormatError, match="expected rows"):
        list(read_parquet(tmp_path / "rows.parquet"))


def test_figures_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """A table with them would read as something else elsewhere."""
    with pytest.raises(ValueError, match="expected finite figures"):
        write_csv(tmp_path / "rows.csv", [replace(ROWS[0], quality=float("inf"))])


@pytest.mark.parametrize("rows", [ROWS, ()])
def test_a_data_frame_keeps_types_and_what_is_not_known(rows: tuple[TurnRow, ...]) -> None:
    """Also without any row."""
    table = frame(rows)
    assert list(table.columns) == [column.name for column in _columns(rows)]
    assert len(table) == len(rows)
    assert str(table.dtypes["asked"]) == "int64"
    assert str(table.dtypes["missing_tokens"]) == "Int64"
    assert str(table.dtypes["quality"]) == "float64"
    assert str(table.dtypes["is_simulated"]) == "bool"
    assert table["usd"].isna().all()
    assert list(table["diverged_at"].isna()) == [row.diverged_at is None for row in rows]


@pytest.mark.parametrize(
    ("name", "value", "expected_error"),
    [
        ("turn", True, "turn is True, expected int"),
        ("turn", 1.5, "turn is 1.5, expected int"),
        ("quality", "0.5", "quality is '0.5', expected float"),
        ("setting", None, "setting is None, expected str"),
        ("coverage", "certain", "coverage is 'certain', expected Coverage"),
        ("coverage", [], r"coverage is \[\], expected Coverage"),
        ("asked_by_role", {"main": "4"}, "asked_by_role is .* expected dict"),
        ("colour", "red", "unknown field 'colour'"),
    ],
)
def test_json_that_is_no_row_is_refused_by_its_field(
    name: str, value: object, expected_error: str
) -> None:
    """The field is named with its value."""
    with pytest.raises(ValueError, match=expected_error):
        row_from_json({**_by_name(ROWS[0]), name: value})


def test_a_whole_number_is_a_float_where_one_is_expected() -> None:
    """JSON does not distinguish 1 and 1.0."""
    row = row_from_json({**_by_name(ROWS[0]), "quality": 1})
    assert row.quality == 1.0
    assert type(row.quality) is float


@pytest.mark.parametrize(
    ("library", "work"),
    [
        ("pyarrow", lambda path: write_parquet(path, ROWS)),
        ("pyarrow", lambda path: list(read_parquet(path))),
        ("pandas", lambda _path: frame(ROWS)),
    ],
)
def test_a_table_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, work: Callable[[Path], object]
) -> None:
    """The error is the command to type."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[tune\]'"):
        work(tmp_path / "rows")


@pytest.mark.parametrize(
    "text", ["=1+1", " =1+1", "\t=1+1", "\n@x", "＝1", "'=1", "-2", "+a", "\ufeff=1"]
)
def test_names_are_never_formulas(tmp_path: Path, text: str) -> None:
    """A conversation's id is a stranger's; it is guarded, and read back as it was."""
    row = replace(ROWS[0], conversation=text, setting=text)
    write_csv(tmp_path / "rows.csv", [row])
    (_, cells) = csv.reader(io.StringIO((tmp_path / "rows.csv").read_bytes().decode(), newline=""))
    assert f"'{text}" in cells
    assert text not in cells
    assert list(read_csv(tmp_path / "rows.csv")) == [row]
