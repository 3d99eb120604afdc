"""Environment variables that are no knobs: all are listed, and a misspelt one is reported."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from callwise.knobs import VARIABLES, misspelt_variables

ROOT = Path(__file__).resolve().parents[3]
DEVELOPERS = {"CALLWISE_DATA", "CALLWISE_SAME_EXAMPLES", "CALLWISE_PEERS", "CALLWISE_PYTHONS"}


class Search(BaseModel):
    """A group."""

    rollouts: int = 4


class Settings(BaseModel):
    """All of them."""

    search: Search = Search()


def test_every_variable_of_the_product_is_listed() -> None:
    """So that none is missing from docs/knobs.md, and none there is without use."""
    found: set[str] = set()
    for package in ("callwise", "graph", "nodes", "lats"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "variables.py":
                text = path.read_text(encoding="utf-8")
                found.update(re.findall(r"\bCALLWISE_[A-Z]+(?:_[A-Z]+)*\b(?!_)", text))
    assert found - DEVELOPERS == set(VARIABLES)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CALLWISE_MODLE", "CALLWISE_MODEL"),
        ("CALLWISE_BASEURL", "CALLWISE_BASE_URL"),
        ("CALLWISE_APIKEY", "CALLWISE_API_KEY"),
        ("callwise_model_", "CALLWISE_MODEL"),
        ("CALLWISE_SEARCH_ROLLOUTS", "CALLWISE__SEARCH__ROLLOUTS"),
    ],
)
def test_a_misspelt_one_is_reported_with_what_was_meant(variable: str, meant: str) -> None:
    """Knobs with single underscores too."""
    [line] = misspelt_variables({variable: "x"}, [Settings])
    assert line == f"the environment variable {variable} does nothing; did you mean {meant}?"


def test_others_are_left_alone() -> None:
    """What is known, a knob, another program's, developers', and what the settings name."""
    environ = dict.fromkeys(
        [*VARIABLES, *DEVELOPERS, "CALLWISE__SEARCH__ROLLOUTS", "MODLE", "CALLWISE_MY_KEY"], "x"
    )
    assert list(misspelt_variables(environ, [Settings])) == []
    text = "api_key_env='CALLWISE_API_KEY2'"
    assert list(misspelt_variables({"CALLWISE_API_KEY2": "x"}, [Settings], text)) == []
