"""Endpoints of the roles: settings, environment, default, and what is refused."""

import subprocess
import sys
from dataclasses import replace

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from pydantic import ValidationError

from callwise.calls import Call, ConfigError, Message, Prices, Purpose, Role, Sampling
from callwise.calls.capabilities import Capabilities
from callwise.calls.errors import MissingKey
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.calls.role_endpoints import (
    EndpointSettings,
    endpoints_from_settings,
    settings_by_role,
)

LOCAL = "http://localhost:8000/v1"
REMOTE = {"CALLWISE_BASE_URL": "https://api.deepseek.com/v1", "CALLWISE_MODEL": "chat"}

CHAT_MODEL = FakeListChatModel(responses=["x"])
NOT_A_MODEL = 7


def make_chat_model():
    """Return a LangChain model, as an import string may name a function."""
    return FakeListChatModel(responses=["y"])


def served(settings=None, **environ):
    """Return the endpoints by role."""
    return endpoints_from_settings(settings or {}, environ=environ)


def test_with_nothing_set_everything_is_simulated():
    """The embedded default serves every role, embeddings too, as one client."""
    endpoints = served()
    assert set(endpoints) == set(Role)
    assert {endpoint.name for endpoint in endpoints.values()} == {"simulated"}
    assert {endpoint.model for endpoint in endpoints.values()} == {"simulated"}
    assert len({id(endpoint.client) for endpoint in endpoints.values()}) == 1
    assert endpoints[Role.MAIN].client.is_simulated


def test_the_environment_fills_unset_roles():
    """One client for all; a role may have its own model; embeddings need a named model."""
    endpoints = served(**REMOTE, CALLWISE_API_KEY="k" * 20, CALLWISE_JUDGE_MODEL="judge")
    assert {role: endpoint.model for role, endpoint in endpoints.items()} == {
        Role.MAIN: "chat",
        Role.JUDGE: "judge",
        Role.FAST: "chat",
    }
    assert {endpoint.name for endpoint in endpoints.values()} == {"api.deepseek.com"}
    assert len({id(endpoint.client) for endpoint in endpoints.values()}) == 1


def test_an_embedding_model_in_the_environment_is_used():
    """It is read from a separate variable."""
    endpoints = served(
        CALLWISE_BASE_URL=LOCAL, CALLWISE_MODEL="chat", CALLWISE_EMBED_MODEL="embedder"
    )
    assert endpoints[Role.EMBED].model == "embedder"


def test_settings_go_before_the_environment():
    """And the environment fills what they leave open."""
    settings = {Role.JUDGE: EndpointSettings(base_url=LOCAL)}
    endpoints = served(settings, **REMOTE, CALLWISE_API_KEY="k" * 20)
    assert (endpoints[Role.JUDGE].name, endpoints[Role.JUDGE].model) == ("localhost-8000", "chat")
    assert endpoints[Role.MAIN].name == "api.deepseek.com"


def test_unset_roles_follow_main():
    """With its client; an own model comes from the role's own variable."""
    settings = {Role.MAIN: EndpointSettings(base_url=LOCAL, model="chat")}
    endpoints = served(settings, CALLWISE_FAST_MODEL="small")
    assert {role: endpoint.model for role, endpoint in endpoints.items()} == {
        Role.MAIN: "chat",
        Role.JUDGE: "chat",
        Role.FAST: "small",
    }
    assert len({id(endpoint.client) for endpoint in endpoints.values()}) == 1


def test_a_conversation_is_never_half_simulated_by_accident():
    """A real judge without an endpoint for main is refused."""
    with pytest.raises(ConfigError, match="CALLWISE_BASE_URL and CALLWISE_MODEL"):
        served({Role.JUDGE: EndpointSettings(base_url=LOCAL, model="judge")})
    settings = {
        Role.MAIN: EndpointSettings(kind="simulated"),
        Role.JUDGE: EndpointSettings(base_url=LOCAL, model="judge"),
    }
    assert served(settings)[Role.FAST].name == "simulated"


MAIN = {
    "base_url": "https://api.example.com/v1",
    "model": "large",
    "api_key_env": "EXAMPLE_KEY",
    "schema_mode": "json_object",
    "token_limit_field": "max_completion_tokens",
    "system_role": "user",
    "refused": ("temperature",),
    "context_tokens": 8192,
    "max_output_tokens": 4096,
    "timeout_seconds": 33.0,
    "retry": {"timeout_attempts": 7},
    "extra_body": {"top_k": 40},
    "max_connections": 3,
    "prices": {"input_usd_per_million": 1, "output_usd_per_million": 2},
}
OF_A_MODEL = {"prices", "system_role", "refused", "context_tokens", "max_output_tokens"}
OF_A_SERVER = {"schema_mode", "token_limit_field", "extra_body"}


@pytest.mark.parametrize(
    ("own", "environ", "lost"),
    [
        ({}, {}, set()),
        ({"timeout_seconds": 5}, {}, set()),
        ({"model": "large"}, {}, set()),
        ({"model": "small"}, {}, OF_A_MODEL),
        ({}, {"CALLWISE_JUDGE_MODEL": "small"}, OF_A_MODEL),
        ({"base_url": "https://api.example.com/v2"}, {}, OF_A_MODEL | OF_A_SERVER),
        ({"base_url": "https://b.example.com/v1"}, {}, OF_A_MODEL | OF_A_SERVER | {"api_key_env"}),
        ({"kind": "simulated"}, {}, set(MAIN)),
    ],
)
def test_a_role_has_what_main_has_field_by_field(own, environ, lost):
    """Without what is a fact of another model, another server, or another host."""
    main = EndpointSettings.model_validate(MAIN)
    judge = EndpointSettings.model_validate(own)
    whole = settings_by_role({Role.MAIN: main, Role.JUDGE: judge}, environ=environ)[Role.JUDGE]
    plain = EndpointSettings()
    for name in MAIN:
        if name == "model":
            model = own.get("model") or environ.get("CALLWISE_JUDGE_MODEL") or "large"
            assert whole.model == (None if "kind" in own else model)
        elif name in own:
            assert getattr(whole, name) == own[name], name
        else:
            source = plain if name in lost else main
            assert getattr(whole, name) == getattr(source, name), name


def test_mains_facts_can_be_given_for_another_model():
    """Then they are the role's own."""
    main = EndpointSettings.model_validate(MAIN)
    own = EndpointSettings(model="small", refused=(), context_tokens=1024)
    whole = settings_by_role({Role.MAIN: main, Role.FAST: own}, environ={})[Role.FAST]
    assert (whole.refused, whole.context_tokens, whole.prices) == ((), 1024, None)


def test_main_is_filled_from_the_environment_and_the_others_from_main():
    """So that options of `main` alone are those of all roles."""
    settings = {Role.MAIN: EndpointSettings(schema_mode="prompt", max_connections=2)}
    endpoints = served(settings, **REMOTE, CALLWISE_API_KEY="k" * 20)
    assert {endpoint.model for endpoint in endpoints.values()} == {"chat"}
    assert len({id(endpoint.client) for endpoint in endpoints.values()}) == 1


def test_roles_follow_main_before_the_environment():
    """A `main` on another endpoint than the environment's takes the other roles with it."""
    settings = {Role.MAIN: EndpointSettings(base_url=LOCAL, model="m")}
    endpoints = served(settings, **REMOTE, CALLWISE_API_KEY="k" * 20)
    assert {endpoint.name for endpoint in endpoints.values()} == {"localhost-8000"}
    simulated = served({Role.MAIN: EndpointSettings(kind="simulated")}, **REMOTE)
    assert {endpoint.name for endpoint in simulated.values()} == {"simulated"}


def test_an_embedding_model_is_never_that_of_main():
    """Settings for `embed` need a model; with one they have the rest of `main`."""
    settings = {Role.MAIN: EndpointSettings(base_url=LOCAL, model="m")}
    with pytest.raises(ConfigError, match="CALLWISE_EMBED_MODEL"):
        served({**settings, Role.EMBED: EndpointSettings(timeout_seconds=5)}, CALLWISE_MODEL="m")
    endpoint = served({**settings, Role.EMBED: EndpointSettings(model="e")})[Role.EMBED]
    assert (endpoint.name, endpoint.model) == ("localhost-8000", "e")


def test_mains_key_is_not_sent_to_another_host():
    """Not a key that `main` names, nor the default one that it uses."""
    elsewhere = {Role.JUDGE: EndpointSettings(base_url="https://b.example.com/v1")}
    main = {"base_url": "https://a.example.com/v1", "model": "m"}
    with pytest.raises(ConfigError, match=r"key for a\.example\.com.*api_key_env"):
        served({Role.MAIN: EndpointSettings(**main), **elsewhere}, CALLWISE_API_KEY="k" * 20)
    with pytest.raises(MissingKey, match="CALLWISE_API_KEY"):
        served(
            {Role.MAIN: EndpointSettings(**main, api_key_env="KEY_A"), **elsewhere},
            KEY_A="a" * 20,
        )


def test_retry_settings_are_laid_over_mains_and_those_over_the_runs():
    """Field by field; a role without any leaves the run's policy alone."""
    retry = RetryPolicy(rate_limited_attempts=9, timeout_attempts=9, jitter=0)
    settings = {
        Role.MAIN: EndpointSettings(
            base_url=LOCAL, model="m", retry=RetryPolicy(timeout_attempts=4, stream_cut_attempts=4)
        ),
        Role.JUDGE: EndpointSettings(retry=RetryPolicy(timeout_attempts=1)),
    }
    endpoints = endpoints_from_settings(settings, environ={}, retry=retry)
    assert endpoints[Role.MAIN].retry == RetryPolicy(
        rate_limited_attempts=9, timeout_attempts=4, stream_cut_attempts=4, jitter=0
    )
    assert endpoints[Role.JUDGE].retry == RetryPolicy(
        rate_limited_attempts=9, timeout_attempts=1, stream_cut_attempts=4, jitter=0
    )
    assert served()[Role.MAIN].retry is None
    wrong = {
        Role.MAIN: EndpointSettings(
            base_url=LOCAL, model="m", retry=RetryPolicy(max_wait_seconds=2)
        )
    }
    with pytest.raises(ConfigError, match=r"endpoints\.main\.retry.*first_wait_seconds"):
        endpoints_from_settings(wrong, environ={}, retry=RetryPolicy(first_wait_seconds=9))


def test_a_local_endpoint_has_more_time():
    """Unless it is set; and what a call has itself goes before both."""
    settings = {
        Role.MAIN: EndpointSettings(base_url=LOCAL, model="m"),
        Role.JUDGE: EndpointSettings(timeout_seconds=7, extra_body={"top_k": 1, "min_p": 0.1}),
        Role.FAST: EndpointSettings(base_url="http://10.0.0.5/v1", api_key_env="KEY"),
    }
    endpoints = served(settings, KEY="k" * 20)
    assert [each.timeout_seconds for each in endpoints.values()] == [600.0, 7.0, None]
    call = Call(Role.JUDGE, Purpose.JUDGE, (Message("user", "hi"),))
    assert endpoints[Role.JUDGE].completed(call).timeout_seconds == 7.0
    own = replace(call, timeout_seconds=3.0, sampling=Sampling(extra_body={"top_k": 2}))
    completed = endpoints[Role.JUDGE].completed(own)
    assert completed.timeout_seconds == 3.0
    assert completed.sampling.extra_body == {"top_k": 2, "min_p": 0.1}
    embedding = Call(Role.EMBED, Purpose.EMBED, inputs=("hi",))
    assert endpoints[Role.JUDGE].completed(embedding).sampling == Sampling()
    assert endpoints[Role.MAIN].client is endpoints[Role.JUDGE].client


def test_what_is_set_by_hand_goes_before_what_is_known():
    """None leaves what is known of the host; an empty list of refused fields is a value."""
    known = Capabilities(schema_mode="json_object", refused=frozenset({"logprobs"}))
    assert EndpointSettings().starting_capabilities(known) == known
    given = EndpointSettings(schema_mode="prompt", system_role="user", refused=(), context_tokens=9)
    assert given.starting_capabilities(known) == Capabilities(
        schema_mode="prompt", system_role="user", refused=frozenset(), context_tokens=9
    )


def test_roles_with_other_access_have_other_clients():
    """Another key is another client."""
    settings = {
        Role.MAIN: EndpointSettings(base_url=LOCAL, model="a", api_key_env="KEY_A"),
        Role.JUDGE: EndpointSettings(base_url=LOCAL, model="a", api_key_env="KEY_B"),
        Role.FAST: EndpointSettings(base_url=LOCAL, model="b", api_key_env="KEY_A"),
    }
    endpoints = served(settings, KEY_A="a" * 20, KEY_B="b" * 20)
    assert endpoints[Role.MAIN].client is endpoints[Role.FAST].client
    assert endpoints[Role.MAIN].client is not endpoints[Role.JUDGE].client
    assert isinstance(endpoints[Role.MAIN].client, OpenAIClient)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"CALLWISE_BASE_URL": LOCAL}, "CALLWISE_MODEL"),
        ({"CALLWISE_MODEL": "chat"}, "CALLWISE_BASE_URL"),
        ({"CALLWISE_API_KEY": "k" * 20}, "CALLWISE_BASE_URL"),
        ({"CALLWISE_BASE_URL": "localhost:8000", "CALLWISE_MODEL": "m"}, "CALLWISE_BASE_URL"),
        (REMOTE, "CALLWISE_API_KEY"),
        ({**REMOTE, "CALLWISE_API_KEY": "  "}, "CALLWISE_API_KEY"),
    ],
)
def test_what_is_missing_is_named(environ, variable):
    """By the variable to set, before anything is sent."""
    with pytest.raises(ConfigError, match=variable):
        served(**environ)


def test_a_missing_key_names_its_variable():
    """The one that the settings name."""
    settings = {
        Role.MAIN: EndpointSettings(
            base_url="https://api.example.com", model="m", api_key_env="EXAMPLE_KEY"
        )
    }
    with pytest.raises(MissingKey) as caught:
        served(settings)
    assert caught.value.variable == "EXAMPLE_KEY"


def test_a_key_is_not_sent_to_another_host():
    """The environment's key belongs to the environment's host, unless settings say more."""
    environ = {**REMOTE, "CALLWISE_API_KEY": "k" * 20}
    elsewhere = {"base_url": "https://api.example.com/v1", "model": "m"}
    with pytest.raises(ConfigError, match=r"key for api\.deepseek\.com.*api_key_env"):
        served({Role.JUDGE: EndpointSettings(**elsewhere)}, **environ)
    named = EndpointSettings(**elsewhere, api_key_env="CALLWISE_API_KEY")
    assert served({Role.JUDGE: named}, **environ)[Role.JUDGE].name == "api.example.com"
    local = EndpointSettings(base_url=LOCAL, model="m")
    assert served({Role.JUDGE: local}, **environ)[Role.JUDGE].client._api_key is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.8.9.1", "a.localhost"])
def test_this_machine_needs_no_key(host):
    """A local server is asked without one."""
    settings = {Role.MAIN: EndpointSettings(base_url=f"http://{host}:1/v1", model="m")}
    assert Role.MAIN in served(settings)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.deepseek.com", "api.deepseek.com"),
        ("https://api.deepseek.com/v1/", "api.deepseek.com"),
        ("https://openrouter.ai/api/v1", "openrouter.ai-api"),
        ("http://127.0.0.1:8000/v1", "127.0.0.1-8000"),
        ("http://[::1]:8000/v1", "__1-8000"),
    ],
)
def test_an_endpoint_is_named_for_its_host(url, name):
    """Stably, whichever role it serves, in the letters a name may have."""
    settings = {role: EndpointSettings(base_url=url, model="m") for role in Role}
    endpoints = served(settings, CALLWISE_API_KEY="k" * 20)
    assert {endpoint.name for endpoint in endpoints.values()} == {name}


def test_prices_come_from_settings_only():
    """None is unknown; a role with another model does not inherit them."""
    priced = {"input_usd_per_million": 0.5, "output_usd_per_million": 2}
    settings = {Role.MAIN: EndpointSettings(base_url=LOCAL, model="m", prices=priced)}
    endpoints = served(settings, CALLWISE_FAST_MODEL="small")
    assert endpoints[Role.MAIN].prices == Prices(0.5, 2.0)
    assert endpoints[Role.JUDGE].prices == Prices(0.5, 2.0)
    assert endpoints[Role.FAST].prices is None


SECRET = "sk-abcdefghijklmnop1234"


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key_env": SECRET},
        {"api_key_env": "gsk_abcdefghijklmnop1234"},
        {"api_key_env": "AKIAABCDEFGHIJKLMNOP"},
        {"api_key": SECRET},
        {"base_url": f"https://user:{SECRET}@api.example.com"},
        {"base_url": f"https://api.example.com/v1?key={SECRET}"},
        {"base_url": SECRET},
        {"kind": SECRET},
    ],
)
def test_a_key_in_settings_is_refused_without_being_repeated(fields):
    """Not in the message, nor in what the error carries into it."""
    with pytest.raises(ValidationError) as caught:
        EndpointSettings.model_validate(fields)
    [value] = fields.values()
    assert value not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "KEY", "DEEPSEEKKEY", "A1"])
def test_names_of_variables_are_taken(name):
    """Capitals, digits and underscores."""
    assert EndpointSettings(api_key_env=name).api_key_env == name


@pytest.mark.parametrize(
    "fields",
    [
        {"max_connections": 0},
        {"schema_mode": "xml"},
        {"prices": {"input_usd_per_million": -1, "output_usd_per_million": 1}},
        {"prices": {"input_usd_per_million": 1}},
        {"prices": {"input_usd_per_million": 1, "output_usd_per_million": 1, "typo": 1}},
        {"base_url": "http://host:port/v1"},
        {"base_url": "ftp://host/v1"},
        {"modell": "x"},
        {"timeout_seconds": 0},
        {"timeout_seconds": float("inf")},
        {"retry": {"timeout_attempts": 0}},
        {"system_role": "developer"},
        {"refused": "temperature"},
        {"context_tokens": 0},
    ],
)
def test_wrong_settings_are_refused(fields):
    """Typos and values out of range."""
    with pytest.raises(ValidationError):
        EndpointSettings.model_validate(fields)


def test_a_simulated_models_seed_is_part_of_its_name():
    """What changes its answers changes the model's name; its speed does not."""

    def model(**options):
        settings = {Role.MAIN: EndpointSettings(kind="simulated", simulated=options)}
        return served(settings)[Role.MAIN].model

    assert model() == model(seed=0) == model(latency_scale=0.0) == "simulated"
    assert len({model(), model(seed=1), model(seed=2), model(null_rate=0.5)}) == 4


def test_wrong_options_of_the_simulated_model_are_named():
    """With the role whose settings they are."""
    settings = {Role.MAIN: EndpointSettings(kind="simulated", simulated={"sede": 1})}
    with pytest.raises(ConfigError, match=r"(?s)role main.*sede"):
        served(settings)


@pytest.mark.parametrize("name", ["CHAT_MODEL", "make_chat_model"])
def test_a_langchain_model_is_found_by_its_import_string(name):
    """A model, or a function that makes one; roles share it."""
    target = f"{__name__}:{name}"
    settings = {Role.MAIN: EndpointSettings(kind="langchain", langchain=target)}
    endpoints = served(settings)
    assert endpoints[Role.MAIN].client is endpoints[Role.JUDGE].client
    assert Role.EMBED not in endpoints
    assert endpoints[Role.MAIN].name.startswith("langchain-")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "set `langchain`"),
        ("no_such_module:model", "cannot import"),
        ("json", "cannot import"),
        ("json:nothing", "cannot import"),
        ("string:digits", "is a str"),
    ],
)
def test_a_wrong_import_string_is_named(target, words):
    """Missing, not importable, or something else."""
    settings = {Role.MAIN: EndpointSettings(kind="langchain", langchain=target)}
    with pytest.raises(ConfigError, match=words):
        served(settings)


def test_settings_import_nothing_heavy():
    """Plans are made without clients."""
    code = (
        "import sys, callwise.calls.role_endpoints;"
        "heavy = {'openai', 'aiohttp', 'langchain_core', 'langgraph', 'numpy'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr


OPENAI_KEY = {"OPENAI_API_KEY": "sk-" + "o" * 20}


def _client(endpoints, role=Role.MAIN):
    client = endpoints[role].client
    return client._base_url, client._api_key


def test_openais_own_variables_alone_make_nothing_real():
    """A key in the environment is not a wish to be asked: the simulated model answers."""
    environ = {**OPENAI_KEY, "OPENAI_BASE_URL": "https://proxy.example.com/v1"}
    assert served(**environ)[Role.MAIN].name == "simulated"


def test_with_a_model_openais_own_variables_are_used():
    """The key goes to OpenAI, or to the URL that is set with it."""
    chosen = served(**OPENAI_KEY, CALLWISE_MODEL="gpt-4o-mini", CALLWISE_JUDGE_MODEL="gpt-4o")
    assert _client(chosen) == ("https://api.openai.com/v1", OPENAI_KEY["OPENAI_API_KEY"])
    assert (chosen[Role.JUDGE].name, chosen[Role.JUDGE].model) == ("api.openai.com", "gpt-4o")
    elsewhere = {"OPENAI_BASE_URL": "https://proxy.example.com/v1/", "CALLWISE_MODEL": "m"}
    chosen = served(**OPENAI_KEY, **elsewhere)
    assert _client(chosen) == ("https://proxy.example.com/v1", OPENAI_KEY["OPENAI_API_KEY"])
    local = served(OPENAI_BASE_URL=LOCAL, CALLWISE_MODEL="m")
    assert _client(local) == (LOCAL, None)


def test_own_variables_go_before_openais():
    """Those that are Callwise's are meant for it."""
    chosen = served(**OPENAI_KEY, **REMOTE, CALLWISE_API_KEY="k" * 20)
    assert _client(chosen) == (REMOTE["CALLWISE_BASE_URL"], "k" * 20)
    at_openai = {"CALLWISE_BASE_URL": "https://api.openai.com/v1", "CALLWISE_MODEL": "m"}
    assert _client(served(**OPENAI_KEY, **at_openai))[1] == OPENAI_KEY["OPENAI_API_KEY"]


def test_openais_key_goes_to_no_other_host():
    """Neither to an endpoint of ours nor to OpenAI where it is the key of another URL."""
    with pytest.raises(
        MissingKey, match=r"OPENAI_API_KEY is the key for api\.openai\.com"
    ) as caught:
        served(**OPENAI_KEY, **REMOTE)
    assert OPENAI_KEY["OPENAI_API_KEY"] not in str(caught.value)
    proxied = {**OPENAI_KEY, "OPENAI_BASE_URL": "https://proxy.example.com/v1"}
    settings = {Role.MAIN: EndpointSettings(base_url="https://api.openai.com/v1", model="m")}
    with pytest.raises(MissingKey, match=r"is the key for proxy\.example\.com"):
        served(settings, **proxied)
    named = {Role.MAIN: EndpointSettings(base_url=LOCAL, model="m", api_key_env="OTHER_KEY")}
    assert _client(served(named, **OPENAI_KEY)) == (LOCAL, None)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CALLWISE_API_KEY": "k" * 20}, "has a key, but neither an endpoint nor a model"),
        ({"CALLWISE_JUDGE_MODEL": "m"}, "main has settings, but neither"),
        ({"CALLWISE_MODEL": "m"}, "has a model and no endpoint"),
        ({**OPENAI_KEY, "CALLWISE_API_KEY": "k" * 20}, "has an endpoint and no model"),
        ({"OPENAI_BASE_URL": "proxy", "CALLWISE_MODEL": "m"}, "variable OPENAI_BASE_URL: expected"),
    ],
)
def test_what_is_missing_is_said_as_it_is(environ, words):
    """A key without an endpoint is not called a model without one."""
    with pytest.raises(ConfigError, match=words):
        served(**environ)


def endpoints_with(*alternatives, environ=None, **main):
    """Return the endpoints of settings of `main` with alternatives."""
    settings = EndpointSettings(
        **{"base_url": LOCAL, "model": "m", **main}, alternatives=alternatives
    )
    return endpoints_from_settings({Role.MAIN: settings}, environ=environ or {})


def test_an_alternative_has_what_it_leaves_out_from_the_endpoint_asked_first():
    """Another port of one host has its model and retry policy, and none of its server's facts."""
    main = endpoints_with(
        {"base_url": "http://localhost:9001/v1", "weight": 3},
        {"model": "other", "retry": {"timeout_attempts": 1}},
        retry=RetryPolicy(timeout_attempts=4, jitter=0),
        extra_body={"top_k": 1},
        prices={"input_usd_per_million": 1, "output_usd_per_million": 2},
    )[Role.MAIN]
    second, third = main.alternatives
    assert [(each.name, each.model) for each in main.candidates] == [
        (main.name, "m"),
        ("localhost-9001", "m"),
        (main.name, "other"),
    ]
    assert (second.weight, third.weight, second.extra_body) == (3, 1, {})
    assert (second.retry, third.retry) == (
        RetryPolicy(timeout_attempts=4, jitter=0),
        RetryPolicy(timeout_attempts=1, jitter=0),
    )
    assert main.prices is not None
    assert second.prices is third.prices is None
    assert third.client is main.client


def test_roles_that_are_served_as_main_is_have_its_alternatives():
    """A role with another model has none, since they would serve the model of `main`."""
    settings = {
        Role.MAIN: EndpointSettings(base_url=LOCAL, model="m", alternatives=({"model": "n"},)),
        Role.FAST: EndpointSettings(model="small"),
    }
    endpoints = endpoints_from_settings(settings, environ={})
    counts = {role: len(endpoint.alternatives) for role, endpoint in endpoints.items()}
    assert counts == {Role.MAIN: 1, Role.JUDGE: 1, Role.FAST: 0}


def test_an_endpoint_twice_and_a_mixture_of_simulated_and_real_are_errors():
    """Each names the setting, and what to change."""
    with pytest.raises(ConfigError, match=r"endpoints\.main\.alternatives.* is given twice"):
        endpoints_with({"weight": 2})
    with pytest.raises(ConfigError, match="simulated and real"):
        endpoints_with({"kind": "simulated"})
    with pytest.raises(ValidationError, match="cannot have alternatives"):
        endpoints_with({"model": "n", "alternatives": ({"model": "o"},)})


def test_an_alternative_at_another_host_needs_its_own_key():
    """The key of one host is not sent to another."""
    there = {"base_url": "https://api.example.com/v1"}
    environ = {"CALLWISE_API_KEY": "secret-1", "OTHER_KEY": "secret-2"}
    with pytest.raises(ConfigError, match="CALLWISE_API_KEY is the key for"):
        endpoints_with(there, environ=environ, base_url="https://api.deepseek.com/v1")
    endpoints = endpoints_with(
        {**there, "api_key_env": "OTHER_KEY"},
        environ=environ,
        base_url="https://api.deepseek.com/v1",
    )
    (other,) = endpoints[Role.MAIN].alternatives
    assert (other.name, other.key_variable) == ("api.example.com", "OTHER_KEY")
