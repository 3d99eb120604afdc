"""Names that a file may give, and those that only its user may."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import ConfigError, Role
from callwise.calls.hosts import known_endpoints
from callwise.calls.role_endpoints import EndpointSettings, endpoints_from_settings
from callwise.calls.trust import EVERYTHING, NOTHING, Trust, require_trust

URL = "https://models.example/v1"
LOCAL = "http://127.0.0.1:9/v1"


def checked(settings, trust=NOTHING, **environ):
    """Require trust of one endpoint's settings."""
    require_trust({Role.MAIN: EndpointSettings(**settings)}, environ, trust)


def test_nothing_of_a_file_is_trusted_by_itself():
    """Neither code nor a host nor a variable; the error has the option that confirms each."""
    with pytest.raises(ConfigError, match="--trust-code os:abort"):
        checked({"kind": "langchain", "langchain": "os:abort"})
    with pytest.raises(ConfigError, match=r"--trust-endpoint models\.example \("):
        checked({"base_url": URL})
    with pytest.raises(ConfigError, match=r"--trust-endpoint AWS_KEY_ID@models\.example"):
        checked({"base_url": URL, "api_key_env": "AWS_KEY_ID"})
    with pytest.raises(ConfigError, match=r"--trust-endpoint 127\.0\.0\.1:9"):
        checked({"base_url": LOCAL})


@pytest.mark.parametrize("row", [row for row in known_endpoints() if row.key_variable])
def test_a_known_endpoints_own_key_at_its_own_host_needs_no_naming(row):
    """Its key nowhere else, not without encryption, and no other key there."""
    own = {"base_url": row.base_url, "api_key_env": row.key_variable}
    checked(own)
    others = (
        {**own, "base_url": "https://models.example/v1"},
        {**own, "base_url": f"https://{row.hosts[0]}.example/v1"},
        {**own, "base_url": f"https://sub.{row.hosts[0]}/v1"},
        {**own, "base_url": f"http://{row.hosts[0]}/v1"},
        {**own, "base_url": f"https://{row.hosts[0]}:8443/v1"},
        {**own, "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {**own, "api_key_env": "CALLWISE_API_KEY"},
    )
    for other in others:
        with pytest.raises(ConfigError, match="only a file names"):
            checked(other)


def test_the_environments_endpoint_has_the_environments_key_and_no_other():
    """A file that names another variable for it is refused."""
    environ = {"CALLWISE_BASE_URL": URL, "CALLWISE_API_KEY": "k" * 20, "OTHER_KEY": "o" * 20}
    trust = Trust.of_own({}, environ)
    checked({"base_url": URL}, trust, **environ)
    checked({"model": "other"}, trust, **environ)
    with pytest.raises(ConfigError, match=r"OTHER_KEY@models\.example"):
        checked({"api_key_env": "OTHER_KEY"}, trust, **environ)
    with pytest.raises(ConfigError, match=r"OTHER_KEY@models\.example"):
        checked({"base_url": URL, "api_key_env": "OTHER_KEY"}, trust, **environ)


def test_the_variables_of_openais_tools_name_their_host_and_key():
    """And no other key there; the default host of those tools where they name none."""
    environ = {"OPENAI_BASE_URL": URL, "OPENAI_API_KEY": "k" * 20, "OTHER_KEY": "o" * 20}
    trust = Trust.of_own({}, environ)
    checked({"base_url": URL, "api_key_env": "OPENAI_API_KEY"}, trust, **environ)
    checked({"model": "m"}, trust, **environ)
    with pytest.raises(ConfigError, match=r"OTHER_KEY@models\.example"):
        checked({"api_key_env": "OTHER_KEY"}, trust, **environ)
    own = {"base_url": "https://other.example/v1", "api_key_env": "OPENAI_API_KEY"}
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY@other\.example"):
        checked(own, trust, **environ)
    environ["CALLWISE_API_KEY"] = "t" * 20
    with pytest.raises(ConfigError, match=r"CALLWISE_API_KEY@other\.example"):
        checked({"base_url": "https://other.example/v1"}, trust, **environ)
    default = {"OPENAI_API_KEY": "k" * 20}
    checked({"base_url": "https://api.openai.com/v1"}, Trust.of_own({}, default), **default)


@pytest.mark.parametrize("url", ["http://h:port", "http://[", "", "nonsense"])
def test_a_url_of_the_environment_that_is_none_names_nothing(url):
    """That is another error, raised where an endpoint is made."""
    trust = Trust.of_own({"main": {"base_url": url}, "judge": 7}, {"CALLWISE_BASE_URL": url})
    assert Trust.of_own(7, {}).endpoints == frozenset()
    with pytest.raises(ConfigError, match="only a file names"):
        checked({"base_url": URL}, trust)


def test_another_roles_host_is_not_sent_the_default_key():
    """It is for the host of `main`; the other is named without a key."""
    chosen = {
        Role.MAIN: EndpointSettings(base_url=URL),
        Role.JUDGE: EndpointSettings(base_url="https://judge.example/v1"),
    }
    environ = {"CALLWISE_API_KEY": "k" * 20}
    with pytest.raises(ConfigError) as caught:
        require_trust(chosen, environ, NOTHING)
    assert "--trust-endpoint CALLWISE_API_KEY@models.example" in str(caught.value)
    assert "--trust-endpoint judge.example (" in str(caught.value)
    require_trust(
        chosen, environ, NOTHING.confirming(["CALLWISE_API_KEY@models.example", "judge.example"])
    )


def test_a_lone_default_key_goes_to_no_host_of_a_file():
    """It is the user's, for a host that the user names; where it is not set none is sent."""
    with pytest.raises(ConfigError, match=r"CALLWISE_API_KEY@127\.0\.0\.1:9"):
        checked({"base_url": LOCAL}, Trust(allows_this_machine=True), CALLWISE_API_KEY="k" * 20)
    checked({"base_url": LOCAL}, Trust(allows_this_machine=True))


def test_two_things_that_the_user_named_apart_are_not_put_together_by_a_file():
    """A key is meant for the place that it was named with."""
    own = {
        "main": {"base_url": URL, "api_key_env": "A_KEY"},
        "judge": {"base_url": "https://other.example/v1", "api_key_env": "B_KEY"},
    }
    trust = Trust.of_own(own, {})
    checked(own["main"], trust)
    checked(own["judge"], trust)
    with pytest.raises(ConfigError, match=r"B_KEY@models\.example"):
        checked({"base_url": URL, "api_key_env": "B_KEY"}, trust)
    only_key = Trust.of_own({"main": {"api_key_env": "A_KEY"}}, {})
    with pytest.raises(ConfigError, match=r"A_KEY@models\.example"):
        checked({"base_url": URL, "api_key_env": "A_KEY"}, only_key)
    only_host = Trust.of_own({"main": {"base_url": URL}}, {})
    with pytest.raises(ConfigError, match=r"A_KEY@models\.example"):
        checked({"base_url": URL, "api_key_env": "A_KEY"}, only_host)


def test_what_is_named_again_is_trusted():
    """By option or by environment variable, and nothing besides."""
    settings = {"base_url": URL, "api_key_env": "A_KEY"}
    checked(settings, NOTHING.confirming(["A_KEY@models.example"]))
    checked(settings, NOTHING.confirming([f"A_KEY@{URL}"]))
    checked(
        settings, Trust.of_own({}, {"CALLWISE_TRUST_ENDPOINTS": "x.example, A_KEY@models.example"})
    )
    checked({"base_url": URL}, NOTHING.confirming(["models.example"]))
    code = {"kind": "langchain", "langchain": "my.models:chat"}
    checked(code, NOTHING.confirming(code=["my.models:chat"]))
    checked(code, Trust.of_own({}, {"CALLWISE_TRUST_CODE": "my.models:chat"}))
    checked(code, Trust.of_own({"judge": code}, {}))
    with pytest.raises(ConfigError, match="only a file names"):
        checked(settings, NOTHING.confirming(["models.example"]))
    with pytest.raises(ConfigError, match="only a file names"):
        checked(
            {**settings, "base_url": URL.replace("https", "http")},
            NOTHING.confirming(["A_KEY@models.example"]),
        )


@pytest.mark.parametrize(
    "text", ["", "@", "a b", "key@host", "ftp://host", "A_KEY@", "http://[", "h:x"]
)
def test_what_names_no_endpoint_is_refused(text):
    """A typing error is not a host."""
    with pytest.raises(ConfigError, match="trusted as HOST"):
        NOTHING.confirming([text])


@pytest.mark.parametrize("text", ["", "os", "os:", ":abort", "os:abort()", "a b:c"])
def test_what_names_no_code_is_refused(text):
    """An import string has a module and a name."""
    with pytest.raises(ConfigError, match="module:name"):
        NOTHING.confirming(code=[text])


HOSTS = st.sampled_from(
    ["https://a.example", "http://a.example", "https://b.example:8443", "http://localhost:9"]
)
VARIABLES = st.sampled_from(["A_KEY", "B_KEY", "OPENAI_API_KEY", "CALLWISE_API_KEY"])


@given(st.lists(st.tuples(VARIABLES, HOSTS), max_size=3), VARIABLES, HOSTS)
def test_a_key_reaches_only_the_pairs_that_were_named(pairs, variable, host):
    """Whatever else is trusted."""
    trust = NOTHING.confirming([f"{name}@{where}" for name, where in pairs])
    assert trust.reaches(f"{host}/v1", variable) == ((variable, host) in pairs)


def test_offline_endpoints_import_nothing_and_read_no_key():
    """A replay has names and prices, whatever wrote the settings."""
    settings = {
        Role.MAIN: EndpointSettings(base_url=URL, model="m", api_key_env="AWS_SECRET_ACCESS_KEY"),
        Role.JUDGE: EndpointSettings(kind="langchain", langchain="os:abort"),
    }
    environ = {"AWS_SECRET_ACCESS_KEY": "s" * 20}
    endpoints = endpoints_from_settings(settings, environ=environ, trust=NOTHING, is_offline=True)
    assert endpoints[Role.MAIN].name == "models.example"
    assert endpoints[Role.JUDGE].name == "langchain-os-abort"
    assert "s" * 20 not in repr(endpoints)
    with pytest.raises(ConfigError, match="only a file names"):
        endpoints_from_settings(settings, environ=environ, trust=NOTHING)


def test_trust_is_no_part_of_what_settings_are():
    """Two settings with equal knobs are equal, whatever named them."""
    assert EVERYTHING == NOTHING


URLS = st.sampled_from([URL, "https://other.example/v1", LOCAL, "https://api.openai.com/v1"])
SETTINGS = st.fixed_dictionaries(
    {"model": st.just("m")}, optional={"base_url": URLS, "api_key_env": VARIABLES}
)
ENVIRONS = st.fixed_dictionaries(
    {},
    optional={
        "CALLWISE_BASE_URL": URLS,
        "OPENAI_BASE_URL": URLS,
        **{name: st.just(f"key-of-{name}-0123") for name in ("A_KEY", "B_KEY", "OPENAI_API_KEY")},
        "CALLWISE_API_KEY": st.just("key-of-CALLWISE_API_KEY-0123"),
    },
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(st.sampled_from(list(Role)), SETTINGS, min_size=1, max_size=3),
    ENVIRONS,
    st.lists(st.tuples(VARIABLES, HOSTS), max_size=3),
)
def test_no_key_is_sent_that_was_not_named_with_its_host(given_settings, environ, pairs):
    """Whatever a file has, what is refused is what would have been sent."""
    chosen = {role: EndpointSettings(**each) for role, each in given_settings.items()}
    trust = Trust.of_own({}, environ).confirming([f"{name}@{where}" for name, where in pairs])
    try:
        endpoints = endpoints_from_settings(chosen, environ=environ, trust=trust)
    except ConfigError:
        return
    for endpoint in endpoints.values():
        key = getattr(endpoint.client, "_api_key", None)
        if key is not None:
            variable = key.removeprefix("key-of-").removesuffix("-0123")
            assert trust.reaches(endpoint.client._base_url, variable)


def test_an_alternative_that_only_a_file_names_is_not_trusted():
    """However well the endpoint that is asked first is known."""
    trust = Trust.of_own({"main": {"base_url": LOCAL, "api_key_env": "MINE"}}, {})
    there = {"base_url": URL, "api_key_env": "MINE"}
    settings = {"base_url": LOCAL, "api_key_env": "MINE", "alternatives": [there]}
    with pytest.raises(ConfigError, match=r"--trust-endpoint MINE@models\.example"):
        checked(settings, trust)
    checked(settings, trust.confirming([f"MINE@{URL}"]))
    checked(settings, Trust.of_own({"main": settings}, {}))
    stranger = {"base_url": "https://other.example/v1", "api_key_env": "MINE"}
    with pytest.raises(ConfigError, match=r"MINE@other\.example"):
        checked({**settings, "alternatives": [stranger]}, Trust.of_own({"main": settings}, {}))


def test_an_alternative_elsewhere_does_not_extend_the_trust_in_a_key():
    """A user who names another place for calls has not named the key of the first for it."""
    own = {"base_url": LOCAL, "api_key_env": "MINE", "alternatives": [{"base_url": URL}]}
    trust = Trust.of_own({"main": own}, {})
    with pytest.raises(ConfigError, match=r"MINE@models\.example"):
        checked({"base_url": URL, "api_key_env": "MINE"}, trust)
