"""What a worker hands over of the rows that it has scored, and which requests the prediction log holds.

    monitor/predictions/<sha256>.json      the model file's signature: names of columns and classes
    monitor/spool/predictions/             frames (`gateway.spool`), each of rows of one model file

A frame is the length of its head, the head, and arrays behind each other: rows and answers; for each request which of
its rows are here, unless all have one row; the texts, as MessagePack; the request ids, a line each.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from converters.modelfile import MISSING_TEXT, Signature
from gateway.store import replace_file
from gateway.tickets import Share

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from gateway.rows import Texts
    from gateway.tickets import Origin

__all__ = [
    "FrameHead",
    "Predictions",
    "are_sampled",
    "describe",
    "is_sampled",
    "pack_frame",
    "read_frame",
    "read_signature",
]

_unpack_texts = msgspec.msgpack.Decoder(list[list[str | None]]).decode
_LENGTH: Final = struct.Struct("<I")
_STORED: Final = {"float32": "<f4", "float64": "<f8"}
_SPREAD: Final = 0x9E3779B1
"""2^32 by the golden ratio."""


class FrameHead(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the rows of a frame have in common, and the shapes of what follows."""

    sha256: str
    model: str
    version: str
    time: float = 0.0
    """Wall clock at which they were handed over: a tenth of a second or less after they were scored."""
    dropped: int = 0
    """Rows that the log should hold and never will, since the process's frame before of this model file."""
    redacted: tuple[int, ...] = ()
    """Places in the signature of the columns that are left out."""
    rows: int = 0
    columns: int
    """Those of numbers that are not left out."""
    width: int
    """Columns of an answer."""
    requests: int = 0
    """Requests, or parts of them."""
    single: bool = True
    """Whether each of these is one row, and the first of its request."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the rows."""
    texts: int = 0
    """Columns of text that are not left out."""
    text_bytes: int = 0
    """What they take."""


class Predictions(NamedTuple):
    """The content of a frame, row by row."""

    head: FrameHead
    rows: npt.NDArray[np.floating[Any]]
    """[rows, columns]."""
    answers: npt.NDArray[np.float32]
    """[rows, width]."""
    texts: list[list[str | None]]
    """A list a text column, of [rows]; None is a missing value."""
    request_ids: list[str]
    """[rows]."""
    numbers: npt.NDArray[np.int32]
    """[rows], of each row within its request, from 0."""


def pack_frame(
    head: FrameHead,
    rows: npt.NDArray[np.floating[Any]],
    answers: npt.NDArray[np.float32],
    origins: Sequence[Origin],
    texts: Texts | None = None,
) -> list[bytes | memoryview]:
    """The parts of a frame; how many rows, requests, texts and bytes it has is filled in in the head.

    Args:
        head: all else.
        rows: [n, columns], C order; valid until the parts are written.
        answers: [n, width], likewise.
        origins: whose rows they are, in their order.
        texts: [n, text columns], if there are any that are not left out.
    """
    places = b""
    try:  # a share among them is no text: the quickest way to tell, while requests wait for the interpreter
        ids = "\n".join(origins)  # type: ignore[arg-type]
    except TypeError:
        shares = [Share(origin, 0, 1) if isinstance(origin, str) else origin for origin in origins]
        places = np.array([share[1:] for share in shares], dtype="<i4").tobytes()
        ids = "\n".join([share.request_id for share in shares])
    packed = _pack_texts(texts) if texts is not None else b""
    head = msgspec.structs.replace(
        head,
        rows=len(rows),
        requests=len(origins),
        single=not places,
        texts=texts.shape[1] if texts is not None else 0,
        text_bytes=len(packed),
    )
    encoded = msgspec.msgpack.encode(head)
    return [_LENGTH.pack(len(encoded)), encoded, _bytes(rows), _bytes(answers), places, packed, ids.encode()]


def _pack_texts(texts: Texts) -> bytes:
    columns = [[None if text == MISSING_TEXT else text for text in column] for column in texts.T.tolist()]
    return msgspec.msgpack.encode(columns)


def _bytes(array: npt.NDArray[np.floating[Any]]) -> bytes | memoryview:
    return array.data.cast("B") if array.size else b""


def read_frame(data: bytes) -> Predictions:
    """Read what `pack_frame` has made; arrays are views.

    Raises:
        ValueError: it was made by something else.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = msgspec.msgpack.decode(data[_LENGTH.size : _LENGTH.size + length], type=FrameHead)
    except (struct.error, msgspec.MsgspecError) as error:
        raise ValueError(f"no frame of predictions: {error}") from error
    at = _LENGTH.size + length
    rows, at = _take(data, at, _STORED[head.dtype], (head.rows, head.columns))
    answers, at = _take(data, at, "<f4", (head.rows, head.width))
    places, at = _take(data, at, "<i4", (0 if head.single else head.requests, 2))
    texts = _unpack_texts(data[at : at + head.text_bytes]) if head.texts else []
    ids = data[at + head.text_bytes :].decode().split("\n")
    if head.single:
        return Predictions(head, rows, answers, texts, ids, np.zeros(head.rows, np.int32))
    firsts, counts = places.T
    before = np.cumsum(counts) - counts
    numbers = np.arange(head.rows, dtype=np.int32) + np.repeat(firsts - before.astype(np.int32), counts)
    return Predictions(head, rows, answers, texts, np.repeat(np.array(ids, dtype=object), counts).tolist(), numbers)


def _take(data: bytes, at: int, kind: str, shape: tuple[int, int]) -> tuple[Any, int]:
    found = np.frombuffer(data, dtype=kind, count=shape[0] * shape[1], offset=at)
    return found.reshape(shape), at + found.nbytes


def describe(folder: Path, sha256: str, signature: Signature) -> None:
    """Keep in `monitor/predictions` what a model file's frames are read with, unless it is there.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / f"{sha256}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.encode(signature))


def read_signature(folder: Path, sha256: str) -> Signature:
    """What `describe` has kept.

    Raises:
        FileNotFoundError: nothing.
        msgspec.MsgspecError: it is damaged.
    """
    return msgspec.json.decode((folder / f"{sha256}.json").read_bytes(), type=Signature)


def is_sampled(request_id: str, share: float) -> bool:
    """Whether a share of all requests includes this one: the same answer at any time in any process.

    A larger share includes a smaller one. By CRC-32, spread by a factor so that ids that count up fall evenly.
    """
    return zlib.crc32(request_id.encode()) * _SPREAD % 2**32 < share * 2**32


def are_sampled(request_ids: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """`is_sampled` of many, [n], for a sixth of the time."""
    hashes = np.fromiter(map(zlib.crc32, map(str.encode, request_ids)), dtype=np.uint32, count=len(request_ids))
    return (hashes * np.uint32(_SPREAD)).astype(np.float64) < share * 2**32
