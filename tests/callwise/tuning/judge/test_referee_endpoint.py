"""Endpoint of the referee."""

import pytest

from callwise.calls import ConfigError, Endpoint
from callwise.calls.endpoint_settings import EndpointSettings, PriceSettings
from callwise.calls.errors import MissingKey
from callwise.testing.fakes import ScriptedClient
from callwise.tuning.judge.referee_endpoint import (
    referee_endpoint,
    referee_secrets,
    same_model_notice,
)

REAL = {
    "CALLWISE_BASE_URL": "https://api.example.com/v1",
    "CALLWISE_MODEL": "main-1",
    "CALLWISE_API_KEY": "key-of-example",
}


@pytest.mark.parametrize("environ", [{}, {"CALLWISE_MODEL": " "}, {"HOME": "/root"}])
def test_where_nothing_is_set_it_is_simulated(environ: dict[str, str]) -> None:
    """A fresh machine judges too, by the simulated model."""
    endpoint = referee_endpoint(environ)
    assert endpoint.client.is_simulated
    assert (endpoint.name, endpoint.model) == ("simulated", "simulated")


def test_a_real_sweep_is_never_judged_by_a_simulated_model_by_accident() -> None:
    """A model for everything else and none for the referee is an error that names the variable."""
    for name, value in REAL.items():
        with pytest.raises(ConfigError, match="CALLWISE_REFEREE_MODEL"):
            referee_endpoint({name: value})


def test_a_model_alone_is_served_where_the_others_are() -> None:
    """At the same URL, with the same key."""
    endpoint = referee_endpoint({**REAL, "CALLWISE_REFEREE_MODEL": "ref-1"})
    assert (endpoint.name, endpoint.model) == ("api.example.com", "ref-1")
    assert endpoint.prices is None


def test_another_host_has_its_own_key() -> None:
    """The key of one host is never sent to another; the error names the referee's variable."""
    elsewhere = {
        **REAL,
        "CALLWISE_REFEREE_MODEL": "ref-1",
        "CALLWISE_REFEREE_BASE_URL": "https://other.example.org/v1",
    }
    with pytest.raises(MissingKey, match="CALLWISE_REFEREE_API_KEY"):
        referee_endpoint(elsewhere)
    endpoint = referee_endpoint({**elsewhere, "CALLWISE_REFEREE_API_KEY": "key-of-other"})
    assert endpoint.name == "other.example.org"


def test_this_machine_needs_no_key() -> None:
    """A configured referee next to a real endpoint."""
    endpoint = referee_endpoint(
        {
            **REAL,
            "CALLWISE_REFEREE_MODEL": "ref-1",
            "CALLWISE_REFEREE_BASE_URL": "http://localhost:8000/v1",
        }
    )
    assert endpoint.name == "localhost-8000"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CALLWISE_REFEREE_MODEL": "ref-1"}, "CALLWISE_REFEREE_BASE_URL"),
        ({"CALLWISE_REFEREE_BASE_URL": "http://localhost/v1"}, "CALLWISE_REFEREE_MODEL"),
        ({**REAL, "CALLWISE_REFEREE_API_KEY": "k"}, "CALLWISE_REFEREE_MODEL"),
        (
            {"CALLWISE_REFEREE_MODEL": "r", "CALLWISE_REFEREE_BASE_URL": "ftp://x"},
            "CALLWISE_REFEREE_BASE_URL",
        ),
        (
            {"CALLWISE_REFEREE_MODEL": "r", "CALLWISE_BASE_URL": "http://u:p@x"},
            "CALLWISE_BASE_URL",
        ),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], words: str) -> None:
    """By the variable to set, before anything is sent."""
    with pytest.raises(ConfigError, match=words):
        referee_endpoint(environ)


def test_settings_go_before_the_environment() -> None:
    """Prices, or the seed of the simulated model that made the replies."""
    settings = EndpointSettings(
        model="ref-2", prices=PriceSettings(input_usd_per_million=1, output_usd_per_million=2)
    )
    endpoint = referee_endpoint({**REAL, "CALLWISE_REFEREE_MODEL": "ref-1"}, settings)
    assert endpoint.model == "ref-2"
    assert endpoint.prices is not None
    seeded = referee_endpoint(REAL, EndpointSettings(kind="simulated", simulated={"seed": 7}))
    assert seeded.client.is_simulated
    assert seeded.model != "simulated"


def test_a_simulated_referee_takes_the_runs_seed() -> None:
    """Another seed likes other phrases: it would judge by another taste."""
    seeded = referee_endpoint({}, simulated_seed=7)
    named = referee_endpoint({}, EndpointSettings(kind="simulated", simulated={"seed": 7}))
    assert seeded.model == named.model != referee_endpoint({}).model
    assert not referee_endpoint(
        {**REAL, "CALLWISE_REFEREE_MODEL": "ref-1"}, simulated_seed=7
    ).client.is_simulated


def test_the_searchs_own_model_is_warned_of() -> None:
    """It judges its own choices, though by another rubric."""
    referee = Endpoint("ref", "ref-1", ScriptedClient())
    assert same_model_notice(referee, "main-1") is None
    assert same_model_notice(referee, None) is None
    notice = same_model_notice(referee, "ref-1")
    assert notice is not None
    assert "CALLWISE_REFEREE_MODEL" in notice


def test_both_keys_are_secrets() -> None:
    """Either may occur in an error."""
    environ = {"CALLWISE_API_KEY": "a", "CALLWISE_REFEREE_API_KEY": "b", "OTHER": "c"}
    assert set(referee_secrets(environ)) == {"a", "b"}
    assert referee_secrets({}) == ()


def test_openais_own_key_serves_a_referee_there():
    """With a referee's model alone; and the key goes to that host only."""
    environ = {"CALLWISE_REFEREE_MODEL": "gpt-4o", "OPENAI_API_KEY": "sk-" + "o" * 20}
    referee = referee_endpoint(environ)
    assert referee.name == "api.openai.com"
    assert referee.client._api_key == environ["OPENAI_API_KEY"]
    with pytest.raises(MissingKey, match="CALLWISE_REFEREE_API_KEY"):
        referee_endpoint({**environ, "CALLWISE_REFEREE_BASE_URL": "https://other.example.com/v1"})
