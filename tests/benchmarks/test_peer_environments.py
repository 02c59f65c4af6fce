"""The peers' environments: locked, made once, and made again when the lock changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.errors import BenchError
from benchmarks.peers.environment import installed, lock_of, prepare
from benchmarks.peers.peer import PEERS

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = sorted({peer.environment for peer in PEERS.values()})

# Makes the environment's Python when asked for one, and says what it was asked; installing fails where FAIL exists.
UV = """#!/bin/sh
folder=$(dirname "$0")
echo "$1 $2" >> "$folder/calls"
case "$1" in
  venv) for last; do :; done; mkdir -p "$last/bin" && touch "$last/bin/python" ;;
  pip) cat > "$folder/given"; [ ! -e "$folder/fail" ] || { echo "no such package" >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def uv(tmp_path) -> Path:
    path = tmp_path / "uv"
    path.write_text(UV)
    path.chmod(0o755)
    return path


def calls(uv: Path) -> list[str]:
    """What uv was asked since it was last asked for this."""
    log = uv.with_name("calls")
    lines = log.read_text().splitlines() if log.exists() else []
    log.write_text("")
    return lines


MADE = ["venv --quiet", "pip install"]


def test_environment_is_made_once(tmp_path, uv):
    """The lock is what is installed; while it stays the same nothing is done, nor said."""
    said, folder = [], tmp_path / "mosec"
    python = prepare(folder, b"a==1", uv=uv, say=said.append)
    assert (python, calls(uv)) == (folder / "bin" / "python", MADE)
    assert uv.with_name("given").read_bytes() == b"a==1"
    assert said == ["installing what mosec needs (a minute or so the first time)"]
    assert (prepare(folder, b"a==1", uv=uv, say=said.append), calls(uv), len(said)) == (python, [], 1)


def test_changed_lock_makes_it_anew(tmp_path, uv):
    """Another version of anything is another environment; so is one whose Python is gone."""
    folder = tmp_path / "mosec"
    python = prepare(folder, b"a==1", uv=uv, say=lambda _: None)
    calls(uv)
    prepare(folder, b"a==2", uv=uv, say=lambda _: None)
    assert calls(uv) == MADE
    python.unlink()
    prepare(folder, b"a==2", uv=uv, say=lambda _: None)
    assert calls(uv) == MADE


def test_failed_installation_says_why_and_is_tried_again(tmp_path, uv):
    """The installer's last words are in the error, and what it left is not taken for an environment."""
    folder, fail = tmp_path / "mosec", uv.with_name("fail")
    prepare(folder, b"a==1", uv=uv, say=lambda _: None)
    fail.touch()
    with pytest.raises(BenchError, match="no such package"):
        prepare(folder, b"a==2", uv=uv, say=lambda _: None)
    fail.unlink()
    calls(uv)
    prepare(folder, b"a==1", uv=uv, say=lambda _: None)
    assert calls(uv) == MADE


def test_versions_are_those_of_the_environment(tmp_path):
    """Read from what is installed there, whatever this environment has."""
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, version in (("NumPy", "0.1"), ("other", "2")):
        (site / f"{name}-{version}.dist-info").mkdir(parents=True)
        (site / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    assert installed(tmp_path / "bin" / "python", ("numpy", "absent")) == {"numpy": "0.1"}


def pins(text: str) -> dict[str, set[str]]:
    """Package -> its versions in a lock."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_lock_is_hashed_and_names_no_address(name):
    """Every line is a pin or one of its hashes: the lock works with whatever index the machine has."""
    lines = lock_of(name).decode().splitlines()
    pin, digest = r"[a-z0-9-]+==[0-9][\w.+!]*( ; [^@]+)? \\", r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    assert lines
    assert [line for line in lines if not re.fullmatch(f"{pin}|{digest}", line)] == []
    assert "://" not in "".join(lines)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_model_is_computed_by_the_same_versions(name):
    """What computes is what hotgate and its training have: a pickle needs that, and a comparison too."""
    ours = pins((ROOT / "requirements" / "all.txt").read_text())
    theirs = pins(lock_of(name).decode())
    shared = {"scikit-learn", "onnxruntime", "numpy"} & theirs.keys()
    assert len(shared) == 2 or name == "mlflow"
    assert {package: theirs[package] for package in shared} == {package: ours[package] for package in shared}


def test_every_lock_has_a_peer_and_what_it_is_made_from():
    """`make lock` compiles each from the file beside it; a peer's shown packages are in its lock."""
    folder = ROOT / "benchmarks" / "peers" / "requirements"
    assert sorted(path.stem for path in folder.glob("*.txt")) == ENVIRONMENTS
    assert sorted(path.stem for path in folder.glob("*.in")) == ENVIRONMENTS
    for peer in PEERS.values():
        assert set(peer.packages) <= pins(lock_of(peer.environment).decode()).keys()
