"""The wall around every test, for the benchmarks' own tests too."""

from tests.conftest import _clean_environment, _network_wall, _no_float_sums, pass_time

__all__ = ["_clean_environment", "_network_wall", "_no_float_sums", "pass_time"]
