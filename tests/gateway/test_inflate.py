"""Compressed bodies: what clients mean by gzip and deflate, and no more memory than a body may take."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, TooLarge, UnsupportedMediaType
from gateway.inflate import inflate

DATA = b'{"features":[1.0,2.0,3.0]}' * 20


def raw(data):
    """Deflate without zlib's head and sum, as some clients send it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


PACK = {"gzip": gzip.compress, "x-gzip": gzip.compress, " GZip ": gzip.compress, "deflate": zlib.compress}


@given(data=st.binary(max_size=2000))
def test_what_was_compressed_comes_back(data):
    """By any of the forms, and as it is."""
    for coding, pack in [*PACK.items(), ("deflate", raw)]:
        assert inflate(coding, pack(data), 2000) == data
    assert inflate(None, data, 0) == inflate("identity", data, 0) == data


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip,deflate", "zstd", "chunked", "ident ity"])
def test_another_coding_is_refused_by_its_name(coding):
    """And what is taken is said."""
    with pytest.raises(UnsupportedMediaType, match=f"Content-Encoding '{coding}' is not supported: send gzip, deflate"):
        inflate(coding, DATA, 1000)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw])
def test_a_body_of_the_limit_passes_and_one_byte_more_is_too_large(pack):
    """The limit is on what comes out, and is named."""
    coding = "gzip" if pack is gzip.compress else "deflate"
    assert inflate(coding, pack(DATA), len(DATA)) == DATA
    with pytest.raises(TooLarge, match=rf"more than {len(DATA) - 1} bytes \(max_body_bytes\)"):
        inflate(coding, pack(DATA), len(DATA) - 1)


def test_a_bomb_is_not_held_in_memory():
    """64 MiB out of 64 kB: little more than the limit is ever there."""
    bomb = gzip.compress(bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate("gzip", bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("coding", "body", "words"),
    [
        ("gzip", DATA, "the body is no gzip"),
        ("deflate", DATA, "the body is no deflate"),
        ("gzip", zlib.compress(DATA), "the body is no gzip"),
        ("gzip", b"", "the gzip body is cut off after 0 bytes"),
        ("deflate", b"", "the deflate body is cut off after 0 bytes"),
        ("gzip", gzip.compress(DATA)[:-1], "is cut off"),
        ("deflate", zlib.compress(DATA)[:-5], "is cut off"),
        ("gzip", gzip.compress(DATA) + b"more", "4 bytes follow the end of the gzip body"),
        ("gzip", gzip.compress(DATA) * 2, "bytes follow the end of the gzip body"),
        ("deflate", zlib.compress(DATA) + b"!", "1 bytes follow the end of the deflate body"),
        ("gzip", gzip.compress(DATA)[:-8] + bytes(8), "incorrect data check"),
        ("deflate", zlib.compress(DATA)[:-4] + bytes(4), "incorrect data check"),
    ],
    ids=range(12),
)
def test_a_body_that_is_damaged_says_in_what(coding, body, words):
    """Cut off, of another form, followed by something, or with another sum."""
    with pytest.raises(BadRequest, match=words):
        inflate(coding, body, 1000)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_inflated_or_refused(body):
    """Nothing else is raised."""
    for coding in ("gzip", "deflate"):
        try:
            inflate(coding, body, 50)
        except (BadRequest, TooLarge):
            continue
