"""Use of processors, memory and GPUs."""

from types import SimpleNamespace

import pytest

from callwise.budget.metrics.resources import GpuUse, Resources, _Proc, nvidia_gpus


class Gone(Exception):
    """The library's error."""


def library(*, count=2, fails_at=""):
    """Return a stand-in for `pynvml`."""

    def failing(name, value):
        def call(*_):
            if name == fails_at:
                raise Gone
            return value

        return call

    return SimpleNamespace(
        NVMLError=Gone,
        nvmlInit=failing("init", None),
        nvmlDeviceGetCount=failing("count", count),
        nvmlDeviceGetHandleByIndex=failing("handle", "h"),
        nvmlDeviceGetUtilizationRates=failing("rates", SimpleNamespace(gpu=80, memory=5)),
        nvmlDeviceGetMemoryInfo=failing("memory", SimpleNamespace(used=1, total=4)),
    )


def test_gpus_are_read_where_the_library_answers():
    """Processors and memory of each."""
    assert list(nvidia_gpus(library())()) == [GpuUse(0.8, 0.25)] * 2


@pytest.mark.parametrize("fails_at", ["init", "rates"])
def test_without_a_driver_or_a_reading_there_is_none(fails_at):
    """It is no error."""
    assert list(nvidia_gpus(library(fails_at=fails_at))()) == []


def test_processors_and_memory_are_read_from_the_kernel(tmp_path):
    """The part in use since the last reading."""
    stat, memory = tmp_path / "stat", tmp_path / "meminfo"
    stat.write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2\n", encoding="ascii")
    memory.write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n", encoding="ascii")
    use = Resources(gpus=lambda: [GpuUse(1.0, 0.5), GpuUse(0.5, 0.0)], machine=_Proc(tmp_path))
    stat.write_text("cpu  150 0 125 715 110 0 0 0 0 0\n", encoding="ascii")
    assert use.read() == {"cpu": 0.75, "memory": 0.75, "gpu": 0.75, "gpu_memory": 0.25}


def test_on_a_system_without_them_nothing_is_exported(tmp_path):
    """An unknown use is not 0."""
    assert Resources(gpus=tuple, machine=_Proc(tmp_path)).read() == {}
