"""How every part of hotgate makes an onnxruntime session, so that what was certified is what serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError, MetadataError

# onnxruntime reports model names and hashes unless told not to before it is loaded, and writes an id into ~/.cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from converters.modelfile import Signature

    Answers = npt.NDArray[np.float32]
    Texts = npt.NDArray[np.object_]

__all__ = ["check_session", "open_session", "properties_of", "run_options", "score"]


def open_session(data: bytes, *, threads: int = 1) -> Any:
    """Make a session from a file's bytes, never from a path, so that no external data can be named.

    onnxruntime sizes its pools to the machine and spins in them, so both are set: `threads` intra-op threads (more
    than one makes small batches slower), one inter-op thread, no spinning. Bytes that also read as onnxruntime's own
    format must not be taken for it: the verifier has judged them as ONNX.

    Raises:
        ConversionError: onnxruntime refuses the bytes.
        MemoryError: there is not enough of it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's own have no root but this one
        raise ConversionError(f"onnxruntime refuses it: {error}") from error


def check_session(session: Any, signature: Signature) -> None:
    """Hold a session's inputs and outputs to what the signature promises to the gateway.

    Raises:
        MetadataError: another input, another type or shape, or no such output.
    """
    expected = [(signature.input_name, f"tensor({_TYPES[signature.dtype]})", len(signature.columns))]
    if signature.texts:
        expected.append((signature.text_input, "tensor(string)", len(signature.texts)))
    found = {item.name: item for item in session.get_inputs()}
    if sorted((item.name, item.type) for item in found.values()) != sorted(item[:2] for item in expected):
        told = [(item.name, item.type) for item in found.values()]
        raise MetadataError(f"the graph takes {told}, the signature says {[item[:2] for item in expected]}")
    output = {item.name: item for item in session.get_outputs()}.get(signature.score_output)
    if output is None or output.type != "tensor(float)":
        raise MetadataError(f"the graph has no output {signature.score_output!r} of tensor(float)")
    widths = [("input", found[name], width) for name, _, width in expected]
    for kind, item, width in [*widths, ("output", output, signature.width)]:
        rows, *rest = item.shape or [0]
        if isinstance(rows, int) or (rest != [width] and not _unknown(rest)):
            raise MetadataError(f"the graph's {kind} has shape {item.shape}, expected [any, {width}]")


_TYPES = {"float32": "float", "float64": "double"}


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


def score(session: Any, signature: Signature, rows: npt.NDArray[Any], texts: Texts | None = None) -> Answers:
    """Answers [n, width] for rows [n, columns] of the signature's dtype and texts [n, text columns]."""
    feed = {signature.input_name: rows}
    if texts is not None:
        feed[signature.text_input] = texts
    answers: Answers = session.run([signature.score_output], feed)[0]
    return answers
