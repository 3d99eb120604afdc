"""The reservation of a call."""

import pytest

from callwise.budget.token_estimate import Estimator
from callwise.calls import Call, Endpoint, Prices, Purpose, Role, Sampling
from callwise.testing.fakes import ScriptedClient


class TenTokens:
    """Says 10 of every call."""

    def call_tokens(self, call):
        """Return 10."""
        return 10


ENDPOINT = Endpoint("e", "gpt-4o", ScriptedClient(), Prices(1.0, 2.0))


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [(Sampling(), 12 + 500), (Sampling(max_tokens=100), 112), (Sampling(max_tokens=9, n=3), 39)],
)
def test_the_output_is_reserved_at_its_longest(ask_for, sampling, tokens):
    """Input times the margin, and `max_tokens` or the allowance for each answer."""
    estimator = Estimator(TenTokens(), default_output_tokens=500)
    estimate = estimator.estimate(ask_for(sampling=sampling), ENDPOINT)
    assert estimate.tokens == tokens
    assert estimate.picodollars == 12 * 10**6 + (tokens - 12) * 2 * 10**6
    assert estimate.reservation() == (0, 1, estimate.tokens, estimate.picodollars)


def test_an_embedding_has_no_output(ask_for):
    """Nothing is reserved for an answer that has no tokens."""
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("a", "b"))
    assert Estimator(TenTokens(), margin=1.0).estimate(call, ENDPOINT).tokens == 10


def test_without_a_counter_the_models_own_is_loaded(ask_for):
    """The default counter is the one of `callwise.budget.token_estimate` for the model."""
    estimator = Estimator(default_output_tokens=0)
    short = estimator.estimate(ask_for("hi"), ENDPOINT).tokens
    long = estimator.estimate(ask_for("hello there " * 50), ENDPOINT).tokens
    assert 0 < short < 20
    assert long > 100
