"""Deliveries, as recordings have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.delivery import DIRECT, Delivery

names = st.text(max_size=20)
deliveries = st.builds(
    Delivery,
    names,
    names,
    names,
    st.integers(0, 100),
    st.booleans(),
    st.integers(0, 9),
    st.floats(0, 1),
    names,
    st.floats(0, 1),
)


@given(deliveries)
def test_a_delivery_reads_as_it_was_written(delivery):
    """Also where all of it is as usual: then nothing is written."""
    document = delivery.to_json()
    assert Delivery.from_json(document) == delivery
    assert (document == {}) is (delivery == DIRECT)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"route": "b"}, "'route'"),
        ({"batch": 3}, "delivery.batch"),
        ({"batch_size": True}, "delivery.batch_size"),
        ({"batch_size": -1}, "delivery.batch_size"),
        ({"is_apportioned": 1}, "delivery.is_apportioned"),
        ({"discount": "half"}, "delivery.discount"),
        ({"discount": float("nan")}, "delivery.discount"),
        ({"hedges": 10**30}, "delivery.hedges"),
    ],
)
def test_what_is_no_delivery_is_named(document, named):
    """A file that was edited is refused with the field."""
    with pytest.raises(ValueError, match=named):
        Delivery.from_json(document)
