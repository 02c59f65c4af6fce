"""The verifier as it runs: a child process for each file, whatever that file does to it."""

import fractions
import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import hotgate
from converters import Limits, Verdict, convert, open_session, verify_file
from converters.verify import _environment

MIB = 2**20


def refused(verdict, message, *, deterministic=True):
    assert not verdict.ok
    assert message in verdict.reason
    assert verdict.deterministic is deterministic
    assert len(verdict.reason) <= 600
    return True


def test_good_file_passes(forest):
    """The verdict names the hash of the bytes that were judged and the distance of the golden rows."""
    verdict = verify_file(forest.path)

    assert verdict.ok
    assert verdict.sha256 == forest.file.sha256
    assert 0 < verdict.error_max <= forest.file.metadata.parity.tolerance


def test_numbers_and_texts_pass(tmp_path):
    """Two inputs, and a block of them: what is repeated stays a row."""
    frame = pd.DataFrame({"age": np.arange(40.0) % 7, "city": ["Bern", "Basel", "Genf", "Bern"] * 10})
    encode = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["city"]))
    model = make_pipeline(encode, LogisticRegression()).fit(frame, frame["age"] > 2)
    file = convert(model, frame[:20], heldout=frame[20:])
    (tmp_path / "mixed.onnx").write_bytes(file.data)
    verdict = verify_file(tmp_path / "mixed.onnx")

    assert file.metadata.signature.text_input
    assert (verdict.reason, verdict.sha256) == ("", file.sha256)


def test_module_prints_one_json_verdict(linear):
    """`python -m converters.verify FILE`: one line, exit code 0 or 1."""
    for path, code in ((linear.path, 0), (Path(__file__), 1)):
        done = subprocess.run(
            [sys.executable, "-m", "converters.verify", str(path)], capture_output=True, text=True, check=False
        )
        verdict = json.loads(done.stdout)

        assert done.returncode == code
        assert done.stdout.count("\n") == 1
        assert verdict["ok"] is (code == 0)
        assert verdict["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused(small, judge, share):
    """Wherever it was cut; the same bytes would fail again."""
    assert not judge(small.data[: int(len(small.data) * share)]).ok
    assert judge(small.data[: int(len(small.data) * share)]).deterministic


JUDGE_FLIPS = """
import sys
from converters.verify import _judge
data = open(sys.argv[1], "rb").read()
for index, position in enumerate(range(0, int(sys.argv[2]), 25)):
    flipped = bytearray(data)
    flipped[position] ^= 1 << (index % 8)
    try:
        _judge(bytes(flipped), 256)
    except Exception as error:
        print(position, type(error).__name__)
    else:
        print(position, "PASSED")
"""


def _graph_end(data):
    return data.index(b"hotgate.golden")


def test_no_flipped_byte_passes(forest):
    """One bit in every 25th byte of the graph: each is refused, and onnxruntime survives what reaches it."""
    end = _graph_end(forest.file.data)
    done = subprocess.run(
        [sys.executable, "-c", JUDGE_FLIPS, str(forest.path), str(min(end, 20_000))],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()

    assert len(lines) == 800
    assert [line for line in lines if line.endswith("PASSED")] == []


def test_flipped_byte_is_an_ordinary_verdict(linear, tmp_path):
    """Through the real child, over the whole graph of a smaller file: never ok, deterministic, with a reason."""
    data = linear.file.data
    paths = []
    for index, position in enumerate(np.linspace(0, _graph_end(data) - 1, 12).astype(int).tolist()):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (index % 8)
        paths.append(tmp_path / f"{position}.onnx")
        paths[-1].write_bytes(flipped)
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(verify_file, paths))

    assert [path.name for path, verdict in zip(paths, verdicts, strict=True) if verdict.ok] == []
    assert all(verdict.deterministic and verdict.reason for verdict in verdicts)


@pytest.mark.parametrize("part", ["parity", "golden", "signature"])
def test_missing_part_is_refused(small, judge, part):
    """A file without its certificate is never served."""
    model = onnx.load_model_from_string(small.data)
    kept = [item for item in model.metadata_props if item.key != f"hotgate.{part}"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)

    assert refused(judge(model.SerializeToString()), f"no hotgate.{part} in the file")


def _parity(**changes):
    return lambda metadata: replace(metadata, parity=replace(metadata.parity, **changes))


def _edit_answers(metadata):
    first, *others = metadata.golden.answers
    return replace(metadata, golden=replace(metadata.golden, answers=(first[::-1], *others)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_parity(passed=False), "the parity certificate says it failed"),
        (_parity(tolerance=1.0), "the parity certificate allows 1"),
        (_parity(error_max=0.5), "says it passed, but was off by 0.5"),
        (_edit_answers, "golden row 0 is off by"),
    ],
)
def test_edited_metadata_is_refused(small, rewrite, judge, change, message):
    """A failed or self-contradicting certificate, a tolerance that certifies nothing, other golden answers."""
    assert refused(judge(rewrite(small.data, metadata=change)), message)


def test_certificate_of_another_graph_is_refused(small, rewrite, judge):
    """The graph was changed after it was certified."""

    def nudge(model):
        coefficients = next(a for n in model.graph.node for a in n.attribute if a.name == "coefficients")
        coefficients.floats[0] += 1e-6

    assert refused(judge(rewrite(small.data, graph=nudge)), "certificate is for graph")


def test_graph_that_answers_otherwise_is_refused_even_if_every_digest_is_right(small, rewrite, judge):
    """Who rewrites all digests still has to reproduce scikit-learn's answers."""

    def spoil(model):
        coefficients = next(a for n in model.graph.node for a in n.attribute if a.name == "coefficients")
        coefficients.floats[0] += 0.5
        coefficients.floats[2] -= 0.5

    assert refused(judge(rewrite(small.data, graph=spoil, resign=True)), "golden row 0 is off by")


def _initializer(model):
    return model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])


def _external_initializer(model):
    _outside(_initializer(model))


def _outside(tensor):
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _external_attribute(model):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1])
    _outside(tensor)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _external_in_a_sub_graph_without_nodes(model):
    graph = onnx.GraphProto(name="g")
    _outside(graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1]))
    model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH).g.CopyFrom(graph)


def _external_sparse(model):
    _outside(model.graph.sparse_initializer.add().values)


def _named_but_not_marked(model):
    _initializer(model).external_data.add(key="location", value="../../etc/passwd")


def _loop(model):
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["l"], body=body))


def _if(model):
    branch = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "then", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["l"], then_branch=branch, else_branch=branch))


def _hidden_sub_graph(model):
    branch = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "then", [], [])
    model.graph.node.append(helper.make_node("Identity", ["X"], ["l"], then_branch=branch))


def _function(model):
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], []))


def _training(model):
    model.training_info.add().initialization.name = "t"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_initializer, "keeps data outside its file"),
        (_external_attribute, "keeps data outside its file"),
        (_external_sparse, "keeps data outside its file"),
        (_named_but_not_marked, "keeps data outside its file"),
        (_external_in_a_sub_graph_without_nodes, "carries a sub-graph"),
        (_loop, "operator ai.onnx.Loop is not allowed"),
        (_if, "operator ai.onnx.If is not allowed"),
        (_hidden_sub_graph, "operator Identity carries a sub-graph"),
        (_function, "model-local functions are not allowed"),
        (_training, "training graphs are not allowed"),
        (lambda m: m.graph.node.append(helper.make_node("Frobnicate", ["X"], ["y"])), "ai.onnx.Frobnicate is not"),
        (lambda m: m.graph.node.append(helper.make_node("RandomNormal", [], ["y"], shape=[1])), "RandomNormal is not"),
        (
            lambda m: m.graph.node.append(helper.make_node("Abs", ["X"], ["y"], domain="com.microsoft")),
            "operator com.microsoft.Abs is not allowed",
        ),
        (lambda m: m.opset_import.add(domain="com.evil", version=1), "domain 'com.evil' are not allowed"),
        (lambda m: setattr(m, "ir_version", 99), "IR version 99, at most"),
        (lambda m: setattr(m.opset_import[0], "version", 99), "newer than supported"),
        (lambda m: m.graph.ClearField("node"), "has no graph"),
        (lambda m: m.graph.node.append(helper.make_node("Abs", ["Q" * 5000], ["y"])), ""),
    ],
)
def test_graph_that_must_not_reach_onnxruntime_is_refused(small, rewrite, judge, change, message):
    """External data, control flow, foreign or unknown operators: named, and refused with every digest right."""
    assert refused(judge(rewrite(small.data, graph=change, resign=True)), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 16), "input has shape [16, 2]"),
        (lambda m: setattr(m.graph.input[0], "name", "Y") or _rename(m, "X", "Y"), "the graph takes [('Y',"),
        (lambda m: _rename(m, "probabilities", "p", outputs=True), "no output 'probabilities'"),
    ],
)
def test_graph_that_is_not_what_the_signature_says_is_refused(small, rewrite, judge, change, message):
    """The gateway feeds any number of rows under the signature's names."""
    assert refused(judge(rewrite(small.data, graph=change, resign=True)), message)


def _rename(model, old, new, *, outputs=False):
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    if outputs:
        for output in model.graph.output:
            if output.name == old:
                output.name = new


def test_metadata_key_that_stands_twice_is_refused(small, judge):
    """Two readers might take two different ones."""
    model = onnx.load_model_from_string(small.data)
    model.metadata_props.append(model.metadata_props[0])

    assert refused(judge(model.SerializeToString()), "metadata has a key twice")


def test_bytes_of_onnxruntimes_own_format_are_read_as_onnx(small, judge):
    """A file that both formats could claim is judged, and loaded, as ONNX: the mark "ORTM" changes nothing."""
    model = onnx.load_model_from_string(small.data)
    model.ClearField("producer_name")
    # Field 2 (producer_name), 6 bytes: the mark then stands where onnxruntime looks for it.
    both = b"\x12\x06\x00\x00ORTM" + model.SerializeToString()
    assert both[4:8] == b"ORTM"

    assert open_session(both).get_inputs()[0].name == "X"
    assert refused(judge(both), "certificate is for graph")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 100, b"{}", b"\x80\x04K\x01.", b"PK\x03\x04", b"ORTM" * 9])
def test_other_bytes_are_refused(judge, data):
    """Nothing, noise, JSON, a pickle, an archive: no ONNX model, said so."""
    assert refused(judge(data), "not an ONNX")


def test_too_large_file_is_refused_unread(tmp_path):
    """A sparse terabyte costs nothing: the limit is on what is read."""
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)

    assert refused(verify_file(path, Limits(size_bytes=1000)), "more than the 1,000 bytes")


@pytest.mark.parametrize("name", ["absent.onnx", "."])
def test_unreadable_file_is_no_ground_to_quarantine(tmp_path, name):
    """It may be readable in a moment."""
    assert refused(verify_file(tmp_path / name), "cannot read", deterministic=False)


def test_lack_of_memory_is_no_ground_to_quarantine(linear):
    """Wherever the memory runs out, in an import or in the graph, the verdict says so and blames no one."""
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(
            pool.map(lambda mib: verify_file(linear.path, Limits(memory_bytes=mib * MIB)), range(40, 440, 40))
        )

    assert all(refused(verdict, "not enough memory to verify it", deterministic=False) for verdict in verdicts)


def test_cpu_time_is_bounded(judge, small, rewrite):
    """A graph that computes for minutes ends with its CPU time; the same bytes would take as long again."""

    def slow(model):
        ones = helper.make_tensor("n", TensorProto.INT64, [2], [4000, 4000])
        model.graph.initializer.append(ones)
        model.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [1], [0]))
        model.graph.node.append(helper.make_node("ReduceSum", ["X"], ["sum"], keepdims=0))
        model.graph.node.append(helper.make_node("Expand", ["sum", "n"], ["big0"]))
        for index in range(40):
            model.graph.node.append(helper.make_node("MatMul", [f"big{index}", f"big{index}"], [f"big{index + 1}"]))
        model.graph.output.append(helper.make_tensor_value_info("big40", TensorProto.FLOAT, [4000, 4000]))
        _keep_alive(model, "big40")

    verdict = judge(rewrite(small.data, graph=slow, resign=True), Limits(cpu_s=2))

    assert refused(verdict, "took more than 2 s of CPU time")


def _keep_alive(model, name):
    """Make the probabilities depend on a value, so that onnxruntime has to compute it."""
    _rename(model, "probabilities", "p0")
    model.graph.node.append(helper.make_node("ReduceSum", [name], ["s"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["s", "zero"], ["s0"]))
    model.graph.node.append(helper.make_node("Add", ["p0", "s0"], ["probabilities"]))


def test_wall_time_is_bounded_and_says_nothing_of_the_file(linear):
    """A machine that stands still is not the file's fault."""
    assert refused(verify_file(linear.path, Limits(wall_s=0.01)), "not verified within 0.01 s", deterministic=False)


def _shape(model, name="huge"):
    model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [2], [2**18, 2**17]))


def _bomb_constant(model):
    _shape(model)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["bomb"]))


def _bomb_expand(model):
    _shape(model)
    model.graph.node.append(helper.make_node("ReduceSum", ["X"], ["one"], keepdims=1))
    model.graph.node.append(helper.make_node("Expand", ["one", "huge"], ["bomb"]))


def _bomb_tile(model):
    _shape(model)
    model.graph.node.append(helper.make_node("Tile", ["X", "huge"], ["bomb"]))


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (_bomb_constant, "asks for 137,438,953,472 bytes at once, it may have 4,294,967,296"),
        (_bomb_expand, "asks for 137,438,953,472 bytes at once, it may have 4,294,967,296"),
        (_bomb_tile, "exceeds the supported maximum"),  # onnxruntime has a limit of its own for this one
    ],
)
def test_graph_that_asks_for_a_hundred_gigabytes_ends_in_a_verdict(small, rewrite, judge, bomb, message):
    """Two kilobytes that allocate 137 GB: the child's limit holds, and since they always would, they are to blame."""

    def build(model):
        model.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [1], [0]))
        bomb(model)
        _keep_alive(model, "bomb")

    data = rewrite(small.data, graph=build, resign=True)
    assert len(data) < 50_000

    assert refused(judge(data, Limits(cpu_s=20)), message)


def test_initializer_that_claims_more_than_it_holds_is_refused(small, rewrite, judge):
    """Dimensions of a terabyte with four bytes behind them are found before anything is allocated."""

    def claim(model):
        model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[2**38], raw_data=b"1234"))
        model.graph.node.append(helper.make_node("Abs", ["w"], ["y"]))

    assert not judge(rewrite(small.data, graph=claim, resign=True)).ok


WATCH = """
import runpy, sys
opened, unpickled = [], []
def hook(event, arguments):
    if event == "open":
        opened.append(str(arguments[0]))
    elif event == "pickle.find_class":
        unpickled.append(arguments)
sys.addaudithook(hook)
sys.argv = ["verify", sys.argv[1]]
try:
    runpy.run_module("converters.verify", run_name="__main__")
except SystemExit as left:
    code = left.code
heavy = {"skl2onnx", "sklearn", "mlflow", "joblib", "cloudpickle", "pandas", "litestar", "granian"} & set(sys.modules)
bad = [p for p in opened if p.endswith((".pkl", ".pickle", ".joblib", ".skops", "MLmodel", "passwd"))]
print(code, sorted(heavy), unpickled, bad, sys.argv[1] in opened)
"""


@pytest.mark.parametrize("change", [None, _external_initializer, _external_attribute, _external_sparse])
def test_verifier_opens_the_file_and_unpickles_nothing(small, rewrite, tmp_path, change):
    """By audit hook: no pickle, no file that a graph names; and by `sys.modules`: nothing that trains or serves."""
    path = tmp_path / "model.onnx"
    path.write_bytes(small.data if change is None else rewrite(small.data, graph=change, resign=True))
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    # The verdict alone goes to stdout; what is printed after it has been sent to stderr.
    seen = done.stderr.splitlines()[-1]

    assert json.loads(done.stdout)["ok"] is (change is None)
    assert seen == f"{int(change is not None)} [] [] [] True"


def test_the_watch_sees_a_verifier_that_unpickles(small, tmp_path):
    """The test above would mean nothing if its hook were deaf: here onnxruntime's stand-in reads a pickle first."""
    (tmp_path / "model.onnx").write_bytes(small.data)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fractions.Fraction(1, 3)))
    loader = "import converters.session as s, pickle; o = s.open_session\n"
    loader += "s.open_session = lambda d: pickle.load(open('model.pkl', 'rb')) and o(d)\ntry:"
    done = subprocess.run(
        [sys.executable, "-c", WATCH.replace("try:", loader, 1), "model.onnx"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert json.loads(done.stdout)["ok"]
    assert "fractions" in done.stderr.splitlines()[-1]
    assert "['model.pkl']" in done.stderr.splitlines()[-1]


def test_child_gets_no_secrets():
    """Of the environment it sees what Python needs, and one BLAS thread."""
    kept = _environment(
        {
            "PATH": "/bin",
            "LC_ALL": "C",
            "PYTHONPATH": "x",
            "AWS_SECRET_ACCESS_KEY": "s",
            "MLFLOW_TRACKING_TOKEN": "t",
            "HOTGATE_ADMIN_KEY": "k",
        }
    )

    assert set(kept) == {
        "PATH", "LC_ALL", "PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
    }  # fmt: skip


def test_running_child_sees_no_secret(tmp_path, monkeypatch):
    """The environment is cut where the child is started, not only where it is made."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os\n"
        "print(json.dumps({'ok': False, 'sha256': '', 'reason': ' '.join(sorted(os.environ))}))\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    seen = verify_file(tmp_path / "any.onnx").reason.split()
    assert "OMP_NUM_THREADS" in seen
    assert "AWS_SECRET_ACCESS_KEY" not in seen


def test_child_does_not_import_from_the_current_directory(linear, tmp_path, monkeypatch):
    """A `numpy.py` or `converters/` lying beside a downloaded file is not run."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    (tmp_path / "converters").mkdir()
    (tmp_path / "converters" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)

    assert verify_file(linear.path).ok


@pytest.mark.parametrize(
    ("code", "stderr", "message", "deterministic"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", "crashed the verifier (SIGSEGV)", True),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "", "could not run", False),
        ("import sys; sys.exit('no such thing')", "", "could not run: no such thing", False),
        ("import os, sys; sys.stderr.write('std::bad_alloc'); sys.stderr.flush(); os.abort()", "", "not enough", False),
        ("print('{}')", "", "could not run: exit code 0", False),
        ('print(\'{"ok": true, "sha256": ""}\'*2)', "", "could not run", False),
    ],
)
def test_child_that_dies_is_a_verdict(tmp_path, monkeypatch, code, stderr, message, deterministic):
    """A crash is the file's doing; a kill from outside, a lack of memory or a broken installation is not."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{code}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    assert refused(verify_file(tmp_path / "any.onnx"), message, deterministic=deterministic)


def test_child_that_does_not_start_is_a_verdict(tmp_path, monkeypatch):
    """No interpreter, no process left: retried, not raised."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))

    assert refused(verify_file(tmp_path / "any.onnx"), "the verifier does not start", deterministic=False)


def test_command_says_ok_refused_or_not_judged(linear, tmp_path, monkeypatch):
    """Exit code 0, 1 and 4; with --json the verdict itself."""
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\xff")
    runner = CliRunner()

    good = runner.invoke(hotgate.main, ["verify", str(linear.path)])
    assert (good.exit_code, good.output.split()[:2]) == (0, ["ok", linear.file.sha256])
    wrong = runner.invoke(hotgate.main, ["verify", str(bad)])
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith(f"refused  {bad}: not an ONNX file")
    told = runner.invoke(hotgate.main, ["verify", "--json", str(bad)])
    assert told.exit_code == 1
    assert not msgspec.json.decode(told.stdout, type=Verdict).ok
    assert runner.invoke(hotgate.main, ["verify", str(tmp_path / "absent")]).exit_code == 2

    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert runner.invoke(hotgate.main, ["verify", str(linear.path)]).exit_code == 4
