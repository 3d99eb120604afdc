"""Endpoints of models from settings: by name, laid over those of `main`."""

import os
import re
from pathlib import Path

import pytest

from callwise.budget import Budgeter
from callwise.calls import Call, ConfigError, Message, Prices, Purpose, Role
from callwise.calls.endpoint_settings import EndpointSettings, PriceSettings
from callwise.calls.errors import MissingKey
from callwise.calls.retry import RetryPolicy
from callwise.calls.role_endpoints import endpoints_from_settings, models_from_settings
from callwise.calls.trust import NOTHING
from callwise.simulator import SimulatedClient

LOCAL = EndpointSettings(base_url="http://localhost:8000/v1", model="chat", timeout_seconds=7)
REMOTE = {"CALLWISE_BASE_URL": "https://api.deepseek.com/v1", "CALLWISE_MODEL": "chat"}


def test_with_nothing_set_each_model_is_simulated():
    """As several models: their names are those of the endpoints' models."""
    models = {"dsv3": EndpointSettings(kind="simulated"), "qwen32b": EndpointSettings()}
    endpoints = models_from_settings({**models, "third": models["dsv3"]}, environ={})
    assert {name: each.identity for name, each in endpoints.items()} == {
        "dsv3": ("simulated", "dsv3"),
        "qwen32b": ("simulated", "qwen32b"),
        "third": ("simulated", "third"),
    }
    assert len({id(each.client) for each in endpoints.values()}) == 1
    assert isinstance(endpoints["dsv3"].client, SimulatedClient)


def test_a_model_has_what_it_leaves_out_from_main():
    """But not its model, which is the name, and not the facts of main's model."""
    main = LOCAL.model_copy(
        update={"prices": PriceSettings(input_usd_per_million=1, output_usd_per_million=2)}
    )
    main = EndpointSettings(**main.model_dump(exclude_unset=True))
    models = {
        "org/big-model:7b": EndpointSettings(),
        "cheap": EndpointSettings(model="small", timeout_seconds=3, retry=RetryPolicy(jitter=0)),
    }
    endpoints = models_from_settings(models, {Role.MAIN: main}, environ={})
    assert [(each.name, each.model, each.timeout_seconds) for each in endpoints.values()] == [
        ("localhost-8000", "org/big-model:7b", 7),
        ("localhost-8000", "small", 3),
    ]
    assert {each.prices for each in endpoints.values()} == {None}
    own = EndpointSettings(model="chat")
    [same] = models_from_settings({"same": own}, {Role.MAIN: main}, environ={}).values()
    assert same.prices == Prices(1, 2)


def test_the_environment_names_the_endpoint_of_models_too():
    """With its key; without one the error names the variable."""
    models = {"deepseek-v3": EndpointSettings()}
    [endpoint] = models_from_settings(
        models, environ={**REMOTE, "CALLWISE_API_KEY": "k" * 20}
    ).values()
    assert endpoint.identity == ("api.deepseek.com", "deepseek-v3")
    with pytest.raises(MissingKey, match="CALLWISE_API_KEY"):
        models_from_settings(models, environ=REMOTE)
    [offline] = models_from_settings(models, environ=REMOTE, is_offline=True).values()
    assert offline.identity == endpoint.identity


def test_models_and_roles_share_a_client_where_they_are_given_one_collection():
    """One pool of connections for one server."""
    clients = {}
    settings = {Role.MAIN: LOCAL}
    roles = endpoints_from_settings(settings, environ={}, clients=clients)
    models = models_from_settings({"a": EndpointSettings()}, settings, environ={}, clients=clients)
    assert models["a"].client is roles[Role.MAIN].client
    assert len(clients) == 1


def test_the_example_of_the_page_runs():
    """It builds a budgeter with both names, and sends nothing."""
    page = Path(__file__).parents[3] / "docs" / "endpoints.md"
    [block] = re.findall(
        r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    names = {"Budgeter": Budgeter, "Call": Call, "EndpointSettings": EndpointSettings}
    names |= {"Message": Message, "Purpose": Purpose, "Role": Role, "os": os}
    names["endpoints_from_settings"] = endpoints_from_settings
    names["models_from_settings"] = models_from_settings
    exec(compile(block, str(page), "exec"), names)  # noqa: S102 - the page's own code
    budgeter = names["budgeter"]
    assert budgeter.endpoint("dsv3").identity == ("127.0.0.1-8000", "deepseek-v3")
    assert budgeter.endpoint("qwen2.5-32b").model == "qwen2.5-32b"
    assert budgeter.endpoint("dsv3").client is budgeter.endpoint(Role.MAIN).client
    assert budgeter.estimate(names["call"]).tokens > 0


def test_no_model_is_real_by_accident_where_main_is_simulated():
    """A simulated `main` that was asked for is another matter."""
    models = {"real": LOCAL, "other": EndpointSettings()}
    with pytest.raises(ConfigError, match=r"nothing serves the role main.*only real would be real"):
        models_from_settings(models, environ={})
    simulated = {Role.MAIN: EndpointSettings(kind="simulated")}
    endpoints = models_from_settings(models, simulated, environ={})
    assert [each.client.is_simulated for each in endpoints.values()] == [False, True]


@pytest.mark.parametrize("name", ["main", "embed", "", " ", "a\nb", "x" * 81, "\x1b[31m"])
def test_a_name_that_cannot_be_one_is_refused(name):
    """A role's, an empty one, one that would break a line."""
    with pytest.raises(ConfigError, match="a model cannot be named") as refused:
        models_from_settings({name: EndpointSettings()}, environ={})
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_errors_name_the_model_and_its_settings():
    """So that they can be found."""
    with pytest.raises(ConfigError, match="the model vectors has an endpoint of kind `langchain`"):
        models_from_settings(
            {"vectors": EndpointSettings(kind="langchain")},
            {Role.MAIN: LOCAL},
            environ={},
        )
    twice = EndpointSettings(alternatives=(EndpointSettings(),))
    with pytest.raises(ConfigError, match=r"models\.a\.alternatives: .* is given twice"):
        models_from_settings({"a": twice}, {Role.MAIN: LOCAL}, environ={})


def test_what_only_a_file_names_is_refused():
    """As for roles."""
    models = {"far": EndpointSettings(base_url="https://models.example.com/v1")}
    with pytest.raises(ConfigError, match=r"far at models\.example\.com"):
        models_from_settings(models, {Role.MAIN: LOCAL}, environ={}, trust=NOTHING)
