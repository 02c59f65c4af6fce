"""What the protocol tells of a server and its models besides their answers: metadata, configuration, index, counts."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import msgspec

from gateway.v2.inputs import TensorKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from gateway.generation import Generation
    from gateway.models import Models
    from gateway.v2.views import View

__all__ = [
    "Indexed",
    "ModelConfig",
    "ModelMetadata",
    "ModelStats",
    "ServerMetadata",
    "Stats",
    "config_of",
    "index_of",
    "metadata_of",
    "server_metadata",
    "stats_of",
]

_PLATFORM = "onnxruntime_onnx"
_EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"]


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What answers."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One model that serves."""

    name: str
    versions: list[str]
    """The one that serves."""
    platform: str
    inputs: list[TensorKind]
    outputs: list[TensorKind]


class ConfigTensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output as Triton's configuration has it."""

    name: str
    data_type: str
    dims: list[int]


class VersionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which versions are served."""

    specific: dict[str, list[str]]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of Triton's configuration that has a meaning here."""

    name: str
    platform: str
    backend: str
    version_policy: VersionPolicy
    max_batch_size: int
    """0: the first of `dims` is the rows, and there may be as many as the server takes."""
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class Indexed(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model, in this worker."""

    name: str
    version: str
    state: str
    """`READY`, or `UNAVAILABLE` for a version that the store names but that does not serve."""
    reason: str


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0


class InferenceStats(msgspec.Struct, frozen=True, kw_only=True):
    """`success` and `fail` count rows, and have no time; `queue` and `compute_infer` count runs."""

    success: Duration
    fail: Duration
    queue: Duration
    """From a run's first row to the run."""
    compute_infer: Duration


class ModelStats(msgspec.Struct, frozen=True, kw_only=True):
    """What has been counted of a version, over all workers of the server."""

    name: str
    version: str
    inference_count: int
    """Rows scored."""
    execution_count: int
    """Runs."""
    inference_stats: InferenceStats


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model, or of all that serve."""

    model_stats: list[ModelStats]


def server_metadata() -> ServerMetadata:
    """Name, version and what of the protocol's extensions there is."""
    try:
        found = version("hotgate")
    except PackageNotFoundError:  # run from a checkout that is not installed
        found = "unknown"
    return ServerMetadata(name="hotgate", version=found, extensions=_EXTENSIONS)


def metadata_of(generation: Generation, view: View) -> ModelMetadata:
    """What the version that serves takes and gives."""
    return ModelMetadata(
        name=generation.name,
        versions=[generation.version],
        platform=_PLATFORM,
        inputs=view.inputs.kinds,
        outputs=view.outputs.kinds,
    )


def config_of(generation: Generation, view: View) -> ModelConfig:
    """The same as Triton's configuration."""
    return ModelConfig(
        name=generation.name,
        platform=_PLATFORM,
        backend="onnxruntime",
        version_policy=VersionPolicy(specific={"versions": [generation.version]}),
        max_batch_size=0,
        input=[_config_tensor(kind) for kind in view.inputs.kinds],
        output=[_config_tensor(kind) for kind in view.outputs.kinds],
    )


def _config_tensor(kind: TensorKind) -> ConfigTensor:
    name = "STRING" if kind.datatype == "BYTES" else kind.datatype
    return ConfigTensor(name=kind.name, data_type=f"TYPE_{name}", dims=kind.shape)


def index_of(models: Models, *, ready: bool) -> list[Indexed]:
    """All models that are wanted or serve, sorted by name; only what serves, if `ready`."""
    found = []
    for name in sorted({*models.slots, *models.missing}):
        slot = models.slots.get(name)
        current = slot.current if slot is not None else None
        if current is not None:
            found.append(Indexed(name=name, version=current.version, state="READY", reason=""))
        named = models.named(name)
        if not ready and (current is None or (named is not None and named != current.version)):
            problem = slot.problem if slot is not None else None
            reason = problem or "it is not loaded yet"
            found.append(Indexed(name=name, version=named or "", state="UNAVAILABLE", reason=reason))
    return found


def stats_of(generations: Iterable[Generation], counted: Iterable[Metric]) -> Stats:
    """What the metrics say of these versions.

    Args:
        generations: whose counts are wanted.
        counted: what is counted by version, over all workers.
    """
    sums: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for metric in counted:
        for sample in metric.samples:
            labels = sample.labels
            if labels.get("role") == "champion":
                sums[labels["model"], labels["version"], sample.name] += sample.value
    return Stats(model_stats=[_stats(one, sums) for one in generations])


def _stats(generation: Generation, sums: defaultdict[tuple[str, str, str], float]) -> ModelStats:
    def counted(name: str) -> float:
        return sums[generation.name, generation.version, f"hotgate_{name}"]

    runs = round(counted("batches_total"))
    rows = round(counted("rows_total"))
    return ModelStats(
        name=generation.name,
        version=generation.version,
        inference_count=rows,
        execution_count=runs,
        inference_stats=InferenceStats(
            success=Duration(count=rows),
            fail=Duration(count=round(counted("failed_rows_total"))),
            queue=Duration(count=runs, ns=round(1e9 * counted("queue_seconds_sum"))),
            compute_infer=Duration(count=runs, ns=round(1e9 * counted("run_seconds_sum"))),
        ),
    )
