"""From a fitted estimator to one self-describing ONNX file, and back to what that file says of itself.

Names are looked up lazily, so that reading a model file loads neither skl2onnx nor onnx.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Certificate": "modelfile",
    "Column": "modelfile",
    "ConversionError": "errors",
    "Golden": "modelfile",
    "GoldenMismatch": "errors",
    "Metadata": "modelfile",
    "MetadataError": "errors",
    "ModelFile": "build",
    "ParityError": "errors",
    "Provenance": "modelfile",
    "Signature": "modelfile",
    "Verdict": "verify",
    "build_model_file": "build",
    "check_golden": "golden",
    "convert": "convert",
    "open_session": "session",
    "read_metadata": "modelfile",
    "verify_file": "verify",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - computed, so that a name has one home


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'converters' has no attribute {name!r}")
    return getattr(importlib.import_module(f"converters.{_HOMES[name]}"), name)
