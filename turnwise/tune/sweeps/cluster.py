"""The same sweep on many machines: joblib over the scheduler and workers of dask.

joblib's own backend for dask notes the error of a lost task and never tells whoever waits
for it, so the sweep would wait for ever. `_Told` tells; it uses nothing but the two methods
that every joblib backend has.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from turnwise.calls.errors import ConfigError

__all__ = ["cluster_backend", "connect"]


@dataclass(frozen=True, slots=True)
class _LostTask:
    error: BaseException


def connect(address: str, *, timeout_seconds: float = 30.0) -> Any:
    """Return a client of a running scheduler, such as `tcp://10.0.0.5:8786`.

    The caller closes it.

    Raises:
        ConfigError: when the extra is not installed, or nobody answers there.
    """
    try:
        import distributed  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise ConfigError("many machines need an extra: pip install 'turnwise[cluster]'") from error
    client: Any = distributed.Client
    try:
        return client(address, timeout=timeout_seconds, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"no dask scheduler answers at {address} ({error}); start one with `dask scheduler`, "
            "and workers with `dask worker ADDRESS`"
        ) from error


def cluster_backend(client: Any) -> Any:
    """Return a joblib backend that works on a dask client's workers."""
    from joblib._dask import DaskDistributedBackend  # noqa: PLC0415 - heavy, and an extra

    class _Told(DaskDistributedBackend):  # type: ignore[misc] # joblib has no types
        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            future: Future[Any] = super().submit(func, callback)

            def tell(done: Future[Any]) -> None:
                error = done.exception()
                if error is not None and callback is not None:
                    callback(_LostTask(error))

            future.add_done_callback(tell)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, _LostTask):
                raise out.error
            return super().retrieve_result_callback(out)

    return _Told(client=client)
