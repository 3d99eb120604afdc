"""Hit rates of caches on traces."""

from benchmarks.load.cache_traces import SIZES, USES, Lru, hit_rate, policies, traces


def test_a_hit_rate_is_that_of_a_trace_counted_by_hand():
    """Of six uses the second of 1 and the second of 3 are hits where two keys fit."""
    assert hit_rate(Lru(2), [1, 1, 2, 3, 3, 1]) == 100 * 2 / 6


def test_traces_are_drawn_the_same_each_time(monkeypatch, tmp_path):
    """They have the stated length, and the recorded one is left out where it is absent."""
    monkeypatch.setenv("CALLWISE_DATA", str(tmp_path))
    drawn = traces()
    assert {name: len(trace) for name, trace in drawn.items()} == dict.fromkeys(
        ("Zipf .9", "moving hot set", "with scans"), USES
    )
    assert drawn == traces()


def test_ours_reaches_its_target_on_a_short_trace():
    """Within 2.5 points of LRU at the smallest size, on every drawn trace."""
    made, drawn = policies(), traces()
    for name in ("Zipf .9", "moving hot set", "with scans"):
        trace = drawn[name][:40_000]
        rates = {each: hit_rate(made[each](SIZES[0]), trace) for each in ("ours", "LRU")}
        assert rates["ours"] >= rates["LRU"] - 2.5, name
