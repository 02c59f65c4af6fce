"""Where candidates are tried: one after the other in this process, or beside each other by one of joblib's backends."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

from training.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["IN_TURN", "Engine"]

Backend: TypeAlias = Literal["loky", "dask", "ray"]
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """Says who does the work; it has no say in what comes out."""

    backend: Backend | None = None
    """`loky`: processes of this machine. `dask`, `ray`: a cluster. None: this process, one after the other."""
    cluster: str | None = None
    """Address of the scheduler, such as `tcp://10.0.0.1:8786`; None: one on this machine, while it is needed."""
    jobs: int | None = None
    """Processes on this machine; None: one for each core that it may use. One alone is this process itself."""

    def __post_init__(self) -> None:
        """Hold the ranges."""
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs must be at least 1, got {self.jobs}")
        if self.cluster is not None and self.backend not in {"dask", "ray"}:
            raise ConfigError(f"cluster {self.cluster!r} needs the engine dask or ray, got {self.backend or 'none'}")
        if self.cluster is not None and self.jobs is not None:
            raise ConfigError("jobs are this machine's, and a cluster has its own: leave out one of them")

    def results(self, function: Callable[[T, S], R], items: Iterable[T], shared: S) -> Generator[R, None, None]:
        """Call `function(item, shared)` for each item; results come as they are ready, in any order.

        Close the iterator to stop early. `shared` is sent to each process of a cluster once.

        Raises:
            ConfigError: the backend is not installed.
            EngineError: the cluster cannot be reached, or a process of it died.
        """
        if self.backend is None:
            yield from (function(item, shared) for item in items)
            return
        import joblib

        try:
            with _BACKENDS[self.backend](self, shared) as options:
                call, batch = joblib.delayed(function), options.pop("batch", None)
                with joblib.parallel_config(**options):
                    if batch is None:
                        parallel = joblib.Parallel(return_as="generator_unordered")
                        yield from parallel(call(item, shared) for item in items)
                        return
                    for some in _batches(items, batch):
                        yield from joblib.Parallel()(call(item, shared) for item in some)
        except ConfigError:
            raise
        except Exception as error:  # each backend has errors of its own, and `function` is expected to raise none
            what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            raise EngineError(f"engine {self.backend} broke down: {what}; run this again to go on") from error


IN_TURN = Engine()


@contextlib.contextmanager
def _loky(engine: Engine, _shared: Any) -> Iterator[dict[str, Any]]:
    from joblib.externals.loky import get_reusable_executor

    try:
        yield {"backend": "loky", "n_jobs": engine.jobs or -1}
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _dask(engine: Engine, shared: Any) -> Iterator[dict[str, Any]]:
    import tempfile

    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError("the engine dask needs its package: pip install 'hotgate[dask]'") from error
    from joblib import cpu_count

    with contextlib.ExitStack() as stack:
        address: Any = engine.cluster
        if address is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            address = stack.enter_context(
                LocalCluster(  # type: ignore[no-untyped-call] # has no annotations
                    n_workers=engine.jobs or cpu_count(),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    local_directory=scratch,
                )
            )
        client = stack.enter_context(Client(address, timeout="5s"))  # type: ignore[no-untyped-call] # nor has this
        yield {"backend": "dask", "client": client, "scatter": [shared], "n_jobs": -1}


@contextlib.contextmanager
def _ray(engine: Engine, _shared: Any) -> Iterator[dict[str, Any]]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ConfigError("the engine ray needs its package: pip install 'hotgate[ray]'") from error
    from joblib import cpu_count

    chosen = {"address": engine.cluster} if engine.cluster else {"num_cpus": engine.jobs or cpu_count()}
    ray.init(**chosen, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        places = int(ray.cluster_resources()["CPU"])
        # its backend answers a whole call at once: small calls, so that an interruption loses one only
        yield {"backend": "ray", "n_jobs": places, "batch": places}
    finally:
        ray.shutdown()


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


_BACKENDS = {"loky": _loky, "dask": _dask, "ray": _ray}
