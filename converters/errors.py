"""What can go wrong between an estimator and a model file that may be served."""

from __future__ import annotations

__all__ = ["ConversionError", "ConverterError", "GoldenMismatch", "MetadataError", "ParityError"]


class ConverterError(Exception):
    """Root of this package's errors."""


class ConversionError(ConverterError):
    """The estimator has no faithful ONNX form here; the text says why and what works instead."""


class ParityError(ConverterError):
    """The ONNX graph does not answer as scikit-learn did; the text names the rows and the distance."""


class MetadataError(ConverterError):
    """A file lacks hotgate's metadata, or what stands there cannot be read."""


class GoldenMismatch(ConverterError):  # noqa: N818 - the field says "mismatch"
    """A session does not reproduce the golden rows of its own file."""
