"""Arrivals of the recorded trace, and the calls that are made of them."""

from benchmarks.load.azure import call_of, in_virtual_time
from benchmarks.load.trace import Arrival, arrivals
from callwise.calls.wire import chat_body
from callwise.simulator.model import prompt_tokens

LINES = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:46.6805900,879,55
"""


def test_arrivals_are_in_seconds_since_the_first(tmp_path):
    """The speed divides the times, and only so many are read as are asked for."""
    path = tmp_path / "trace.csv"
    path.write_text(LINES, encoding="ascii")
    assert arrivals(path, speed=60.0) == [
        Arrival(0.0, 374, 44),
        Arrival(4.314579 / 60, 396, 109),
        Arrival(1.0, 879, 55),
    ]
    assert len(arrivals(path, most=1)) == 1


def test_a_call_has_the_size_of_its_arrival():
    """Within a few tokens of input, and exactly as many of output."""
    call = call_of(3, Arrival(0.0, 1020, 129))
    assert abs(prompt_tokens(chat_body(call, model="m")) - 1020) <= 20
    assert call.sampling.max_tokens == 129
    assert call_of(4, Arrival(0.0, 1, 0)).sampling.max_tokens == 1


def test_each_call_of_a_trace_has_one_row_though_a_service_dies():
    """In virtual time two runs are equal, and the ledger has the requests that were received."""
    trace = [Arrival(number / 300, 60 + number % 900, 10 + number % 90) for number in range(600)]
    run = in_virtual_time(trace)
    assert run == in_virtual_time(trace)
    assert run.rows_per_call == {1: 600}
    assert run.requests == run.received > 600
    assert run.unsettled == 0
    assert run.outcomes["served"] >= 595
