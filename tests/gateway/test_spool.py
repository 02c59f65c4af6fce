"""Framed files from workers to the observer: what was appended is read once, whole, and never is there too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import Clock

from gateway.spool import Spool, closed_files, read_spool

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000.0


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def spool(folder, clock, *, limit_bytes=10_000, rotate_s=5.0, rotate_bytes=1000):
    return Spool(folder, limit_bytes=limit_bytes, rotate_s=rotate_s, rotate_bytes=rotate_bytes, clock=clock)


def consume(folder):
    """All frames of closed files, in order, and the files removed."""
    frames = []
    for path in closed_files(folder):
        frames += read_spool(path)
        path.unlink()
    return frames


def test_what_is_appended_is_read_once_the_file_is_closed(folder, clock):
    """Parts of any kind become one frame; an open file is left alone."""
    under_test = spool(folder, clock)
    assert closed_files(folder) == []
    assert under_test.append(b"one ", memoryview(np.arange(3, dtype=np.float32)), b"")
    assert under_test.append()
    assert closed_files(folder) == []
    under_test.close()
    assert consume(folder) == [b"one " + np.arange(3, dtype=np.float32).tobytes(), b""]
    assert under_test.append(b"two")
    under_test.close()
    under_test.close()
    assert consume(folder) == [b"two"]


def test_who_rotates_does_not_wait_for_an_append(folder, clock, monkeypatch):
    """An event loop must not stand still because a disk does."""
    under_test = spool(folder, clock)
    waits = []

    def slow(*_):
        rotating = threading.Thread(target=under_test.rotate, daemon=True)
        rotating.start()
        rotating.join(5)
        waits.append(rotating.is_alive())
        raise OSError("slow, and then full")

    monkeypatch.setattr(os, "writev", slow)
    assert not under_test.append(b"one")
    assert waits == [False]


@pytest.mark.parametrize("step", [5.0, -1.0])
def test_a_file_is_closed_by_age_also_while_nothing_comes(folder, clock, step):
    """And when the clock is set back."""
    under_test = spool(folder, clock)
    under_test.append(b"one")
    under_test.rotate()
    assert closed_files(folder) == []
    clock.now += step
    under_test.rotate()
    assert consume(folder) == [b"one"]


def test_a_file_is_closed_by_size(folder, clock):
    """So no file is larger than that and one frame."""
    under_test = spool(folder, clock)
    for index in range(10):
        assert under_test.append(bytes([index]) * 400)
    sizes = [path.stat().st_size for path in closed_files(folder)]
    assert sizes == [3 * 412] * 3
    under_test.close()
    assert [frame[0] for frame in consume(folder)] == list(range(10))


def test_two_spools_share_a_folder_and_its_limit(folder, clock):
    """What would exceed it is refused, told once, and taken again when there is room."""
    one, two = spool(folder, clock, limit_bytes=1000), spool(folder, clock, limit_bytes=1000)
    assert two.append(b"x" * 88)
    assert one.append(b"x" * 788)
    assert one.append(b"x" * 88)
    assert not one.append(b"")
    clock.now += 1.0
    assert not two.append(b"")
    one.close()
    consume(folder)
    clock.now += 1.0
    assert two.append(b"x" * 700)


def test_a_full_folder_is_told_once(folder, clock, caplog):
    """And that it takes again what comes."""
    under_test = spool(folder, clock, limit_bytes=100)
    assert [under_test.append(b"x" * 60) for _ in range(3)] == [True, False, False]
    assert caplog.text.count("takes nothing more") == 1
    under_test.close()
    consume(folder)
    clock.now += 1.0
    with caplog.at_level("INFO"):
        assert under_test.append(b"x" * 60)
    assert caplog.text.count("takes again") == 1


def test_a_folder_that_cannot_be_made_refuses(tmp_path, clock):
    """A file stands in its place."""
    (tmp_path / "spool").write_bytes(b"")
    assert not spool(tmp_path / "spool", clock).append(b"one")


def test_a_write_that_comes_short_leaves_nothing_of_its_frame(folder, clock, monkeypatch):
    """As on a disk that is nearly full; the next frame stands where it would have stood."""
    under_test = spool(folder, clock)
    assert under_test.append(b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda file, parts: os.write(file, b"".join(parts)[:14]))
        assert not under_test.append(b"lost")
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError("read only")))
        assert not under_test.append(b"lost too")
    assert under_test.append(b"two")
    under_test.close()
    assert len(closed_files(folder)) == 2
    assert consume(folder) == [b"one", b"two"]


@pytest.mark.parametrize("cut", [1, 12, 13, 15])
def test_a_frame_that_is_cut_off_is_left_out(folder, clock, caplog, cut):
    """As a kill within a write leaves it; it is no damage."""
    under_test = spool(folder, clock)
    under_test.append(b"one")
    under_test.append(b"two!")
    under_test.close()
    (path,) = closed_files(folder)
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_spool(path) == [b"one"]
    assert "ends within a frame" in caplog.text
    assert list(folder.glob("*.bad")) == []


@pytest.mark.parametrize("at", [15, 20, 24, 30])
def test_damage_is_told_and_kept_for_whoever_looks(folder, clock, caplog, at):
    """One wrong byte of the second of three frames, in magic, length, checksum or content: the first one is read."""
    under_test = spool(folder, clock)
    for text in (b"one", b"two", b"three"):
        under_test.append(text)
    under_test.close()
    (path,) = closed_files(folder)
    data = bytearray(path.read_bytes())
    data[at if at < 20 else at - 1] ^= 1
    path.write_bytes(data)
    assert read_spool(path) == [b"one"]
    assert read_spool(path) == [b"one"]
    assert "is damaged at byte 15 of 47" in caplog.text
    path.unlink()
    assert [bad.read_bytes() for bad in folder.glob("*.bad")] == [bytes(data)]
    assert closed_files(folder) == []


def test_an_unfinished_file_is_removed_after_an_hour(folder, clock):
    """A process was killed while it made one."""
    folder.mkdir()
    (folder / "x.spool.new").touch()
    os.utime(folder / "x.spool.new", (NOW, NOW))
    assert closed_files(folder, lambda: NOW + 3599) == []
    assert (folder / "x.spool.new").exists()
    assert closed_files(folder, lambda: NOW + 3600) == []
    assert list(folder.iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from gateway.spool import Spool
from tests.gateway.killing import kill_at

root = Path(sys.argv[1])

for step in range(1, 1000):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        spool = Spool(root / str(step), limit_bytes=10**6, rotate_s=60, rotate_bytes=30)
        sys.settrace(kill_at(step, "/gateway/spool"))
        for number in range(4):
            assert spool.append(b"frame ", str(number).encode())
            os.write(write, b".")
        spool.close()
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    print(step, len(os.read(read, 9)))
    os.close(read)
    if not status:
        break
"""


def test_sigkill_at_every_step_loses_no_frame_that_was_appended(tmp_path):
    """Nor is one doubled, and every file is closed then."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    steps = [line.split() for line in done.stdout.splitlines()]
    assert len(steps) > 60
    for step, appended in steps:
        frames = consume(tmp_path / step)
        assert frames == [f"frame {number}".encode() for number in range(len(frames))]
        assert int(appended) <= len(frames) <= int(appended) + 1


def test_a_file_is_open_until_its_process_has_ended(folder):
    """Also one that stands still."""
    code = (
        "import sys; from pathlib import Path; from gateway.spool import Spool;"
        "Spool(Path(sys.argv[1]), limit_bytes=99, rotate_s=9, rotate_bytes=9).append(b'one') and print(flush=True);"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"\n"
        assert closed_files(folder) == []
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        assert consume(folder) == [b"one"]
    finally:
        process.kill()
        process.communicate()
