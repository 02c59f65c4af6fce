"""Files that are cut, flipped, blown up or no files at all, and graphs that only the child's limits hold."""

import json
import os
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from converters import Limits, verify_file

JUDGE = """
import json, random, sys
from converters.verify import _judge
data = open(sys.argv[1], "rb").read()
how, seed = sys.argv[2], random.Random(7)
for count in range(150):
    broken = bytearray(data)
    if how == "cut":
        place = count * 1000
        if place >= len(data):
            break
        del broken[place:]
    else:
        place = seed.randrange(len(data))
        for at in range(place, min(place + (1 if how == "flip" else 8), len(data))):
            broken[at] ^= 1 << seed.randrange(8) if how == "flip" else seed.randrange(256)
    try:
        error = _judge(bytes(broken), 256)
    except Exception as refusal:
        error = type(refusal).__name__
    print(json.dumps([place, error]))
"""


def judged(path, how):
    done = subprocess.run([sys.executable, "-c", JUDGE, str(path), how], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_file_cut_at_any_place_is_refused(forest):
    """At every 1,000th byte, between two metadata entries as within one."""
    cut = judged(forest.path, "cut")

    assert len(cut) == min(150, -(-len(forest.file.data) // 1000))
    assert [place for place, error in cut if isinstance(error, float)] == []


@pytest.mark.parametrize("how", ["flip", "noise"])
def test_damage_is_refused_or_harmless(linear, how):
    """Bits and runs of bytes, anywhere in the file: what is accepted still answers its golden rows."""
    found = judged(linear.path, how)
    accepted = [error for _, error in found if isinstance(error, float)]

    assert len(found) == 150
    assert len(accepted) < len(found) / 2
    assert all(0 <= error <= linear.file.metadata.parity.tolerance for error in accepted)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket", "nothing"])
def test_what_is_no_file_is_said_at_once(tmp_path, kind):
    """Nobody writes the pipe, the device never ends: neither is read or waited for, and no version is to blame."""
    path = tmp_path / "model.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        os.mknod(path, 0o140600)
    verdict = verify_file(path, Limits(wall_s=60))

    assert not verdict.ok
    assert verdict.reason.startswith(f"cannot read {path}: ")
    assert not verdict.deterministic


def test_link_to_a_file_is_followed(small, tmp_path):
    """As a deployment names its current model."""
    (tmp_path / "v1.onnx").write_bytes(small.data)
    (tmp_path / "current.onnx").symlink_to("v1.onnx")

    assert verify_file(tmp_path / "current.onnx").sha256 == small.sha256


def field(number, content):
    """A length-delimited protobuf field."""
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def test_nesting_without_end_is_refused(judge):
    """Graphs in attributes in nodes in graphs, 5,000 deep: the parser has its limit, not the stack."""
    data = b""
    for _ in range(5_000):
        data = field(1, field(5, field(6, data)))  # node, its attribute, its graph

    assert judge(field(7, data)).reason.startswith("not an ONNX file")


def test_list_that_grows_in_memory_is_bounded(small, rewrite, judge):
    """Ten million numbers of one byte each, eight times that when parsed: refused, in bounds, for what they are."""
    attribute = onnx.AttributeProto(name="nodes_treeids", type=onnx.AttributeProto.INTS).SerializeToString()
    packed = onnx.AttributeProto.FromString(attribute + field(8, bytes(10_000_000)))

    def grow(model):
        model.graph.node.append(helper.make_node("TreeEnsembleRegressor", ["X"], ["t"], domain="ai.onnx.ml"))
        model.graph.node[-1].attribute.append(packed)

    verdict = judge(rewrite(small.data, graph=grow, resign=True))

    assert "lists of unequal length: {'nodes_treeids': 10000000" in verdict.reason


def widen(model, columns):
    """Let the answer pass through a matrix of so many columns, which is not there before it runs."""
    for node in model.graph.node:
        node.output[:] = ["narrow" if name == "probabilities" else name for name in node.output]
    model.graph.initializer.append(helper.make_tensor("wide", TensorProto.INT64, [3], [1, 1, columns]))
    model.graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [2]))
    for operator, inputs, output in (
        ("Unsqueeze", ["narrow", "last"], "deep"),
        ("Expand", ["deep", "wide"], "matrix"),
        ("ReduceMax", ["matrix", "last"], "probabilities"),
    ):
        keep = {"keepdims": 0} if operator == "ReduceMax" else {}
        model.graph.node.append(helper.make_node(operator, inputs, [output], **keep))


def test_graph_must_answer_a_whole_block_within_the_memory(small, rewrite, judge):
    """Golden rows are a few: what they need says nothing of what a worker's largest block would."""
    data = rewrite(small.data, graph=lambda model: widen(model, 1_000_000), resign=True)
    limits = {"memory_bytes": 2**30, "cpu_s": 30}

    assert judge(data, Limits(rows=1, **limits)).ok
    verdict = judge(data, Limits(rows=256, **limits))
    assert verdict.reason == "asks for 2,048,000,000 bytes at once, it may have 1,073,741,824"
    assert verdict.deterministic
