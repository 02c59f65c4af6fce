"""From a fitted estimator to one self-describing ONNX file, and back to what that file says of itself.

Names are looked up lazily, so that reading a model file loads neither skl2onnx nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converters.build import ModelFile, build_model_file
    from converters.converting import convert
    from converters.errors import ConversionError, ConverterError, GoldenMismatch, MetadataError, ParityError
    from converters.golden import check_golden
    from converters.modelfile import Certificate, Column, Golden, Metadata, Provenance, Signature, Target, read_metadata
    from converters.session import open_session
    from converters.verify import Limits, Verdict, verify_file

__all__ = [
    "Certificate",
    "Column",
    "ConversionError",
    "ConverterError",
    "Golden",
    "GoldenMismatch",
    "Limits",
    "Metadata",
    "MetadataError",
    "ModelFile",
    "ParityError",
    "Provenance",
    "Signature",
    "Target",
    "Verdict",
    "build_model_file",
    "check_golden",
    "convert",
    "open_session",
    "read_metadata",
    "verify_file",
]

_HOMES = {
    "Certificate": "modelfile",
    "Column": "modelfile",
    "ConversionError": "errors",
    "ConverterError": "errors",
    "Golden": "modelfile",
    "GoldenMismatch": "errors",
    "Limits": "verify",
    "Metadata": "modelfile",
    "MetadataError": "errors",
    "ModelFile": "build",
    "ParityError": "errors",
    "Provenance": "modelfile",
    "Signature": "modelfile",
    "Target": "modelfile",
    "Verdict": "verify",
    "build_model_file": "build",
    "check_golden": "golden",
    "convert": "converting",
    "open_session": "session",
    "read_metadata": "modelfile",
    "verify_file": "verify",
}

if not TYPE_CHECKING:  # else a misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'converters' has no attribute {name!r}")
        return getattr(importlib.import_module(f"converters.{_HOMES[name]}"), name)
