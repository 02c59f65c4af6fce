"""How every part of hotgate makes an onnxruntime session, so that what was certified is what serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.errors import MetadataError

# onnxruntime reports model names and hashes unless told not to before it is loaded, and writes an id into ~/.cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

if TYPE_CHECKING:
    import numpy.typing as npt

    from converters.modelfile import Signature

__all__ = ["check_session", "label_of", "open_session", "properties_of", "run_options", "score", "score_of"]


def open_session(data: bytes, *, threads: int = 1) -> Any:
    """Make a session from a file's bytes, never from a path, so that no external data can be named.

    onnxruntime sizes its pools to the machine and spins in them, so both are set: `threads` intra-op threads (more
    than one makes small batches slower), one inter-op thread, no spinning. Bytes that also read as onnxruntime's own
    format must not be taken for it: the verifier has judged them as ONNX.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def check_session(session: Any, signature: Signature) -> None:
    """Hold a session's inputs and outputs to what the signature promises to the gateway.

    Raises:
        MetadataError: another input, another type or shape, or no such output.
    """
    inputs = [(item.name, item.type) for item in session.get_inputs()]
    if inputs != [(signature.input_name, "tensor(float)")]:
        raise MetadataError(f"the graph takes {inputs}, the signature says {signature.input_name!r}, tensor(float)")
    outputs = {item.name: item for item in session.get_outputs()}
    output = outputs.get(signature.score_output)
    if output is None or output.type != "tensor(float)":
        raise MetadataError(f"the graph has no output {signature.score_output!r} of tensor(float)")
    widths = (("input", session.get_inputs()[0], signature.columns), ("output", output, signature.classes))
    for kind, item, parts in widths:
        rows, *rest = item.shape or [0]
        if isinstance(rows, int) or (rest != [len(parts)] and not _unknown(rest)):
            raise MetadataError(f"the graph's {kind} has shape {item.shape}, expected [any, {len(parts)}]")


def _unknown(width: list[Any]) -> bool:
    return len(width) == 1 and not isinstance(width[0], int)


def run_options() -> Any:
    """Options of a run on bound buffers; without any, onnxruntime makes new ones for every run.

    The entry is for GPUs and means "no graph capture"; where it is missing, onnxruntime's Python layer looks for it by
    throwing and catching a C++ exception, which takes ten times as long as the run.
    """
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def properties_of(session: Any) -> dict[str, str]:
    """The metadata that the file carries, as a mapping of strings."""
    return dict(session.get_modelmeta().custom_metadata_map)


def score(session: Any, signature: Signature, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities [rows, classes] for rows [rows, columns]."""
    probabilities: npt.NDArray[np.float32] = session.run([signature.score_output], {signature.input_name: rows})[0]
    return probabilities


def label_of(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The predicted class of each row, as its place among the classes; NaN for a row without an answer."""
    label = probabilities[:, 1] > probabilities[:, 0] if probabilities.shape[1] == 2 else probabilities.argmax(axis=1)
    return np.where(np.isnan(score_of(probabilities)), np.nan, label)


def score_of(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The one number per row whose distribution is watched: P(last class) of two, else the largest probability."""
    column = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
    return np.asarray(column, dtype=np.float64)
