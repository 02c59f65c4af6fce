import os
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace

import converters
from converters import Golden, MetadataError, open_session, read_metadata
from converters.graph import graph_sha256, parse, with_properties
from converters.modelfile import MAX_TOLERANCE, write_metadata
from converters.numbers import decode_rows, encode_rows, refuse_non_finite
from converters.session import properties_of

DOUBLES = st.one_of(
    st.floats(),
    st.sampled_from([-0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 0.1, 1.7976931348623157e308, 1e16 + 2]),
)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=DOUBLES)

BUILD = """
import sys
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from converters import Column, Provenance, build_model_file
rng = np.random.default_rng(0)
rows = rng.normal(size=(200, 3))
target = np.where(rows[:, 0] > rows[:, 1], "up", "down")
estimator = RandomForestClassifier(10, random_state=0).fit(rows[:100], target[:100])
file = build_model_file(
    estimator,
    columns=[Column(name=name) for name in ("a", "b", "c")],
    train_rows=rows[:100],
    heldout_rows=rows[100:],
    provenance=Provenance(git_revision=None, data_digest="d", parameters={"b": 1, "a": {"y": 1, "x": 2}},
                          versions={"z": "1", "a": "2"}, seed=0),
)
sys.stdout.write(file.sha256)
"""


@given(ROWS)
def test_rows_survive_json_bit_for_bit(rows):
    """decode(encode(x)) = x for every double, signed zeros, subnormals and infinities included; NaN is missing."""
    encoded = encode_rows(rows)
    refuse_non_finite(encoded)
    golden = Golden(graph_sha256="", rows=tuple(map(tuple, encoded)), answers=())
    text = msgspec.json.encode(golden)
    again = decode_rows(msgspec.json.decode(text, type=Golden).rows)

    missing = np.isnan(rows)
    assert np.array_equal(np.isnan(again), missing)
    assert again[~missing].tobytes() == rows[~missing].tobytes()
    assert text.count(b"null") == missing.sum()


@given(
    st.recursive(
        st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.text(), st.none()),
        lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text(), part, max_size=3)),
    )
)
def test_finite_numbers_pass_in_any_tree(tree):
    """Nothing finite is refused, however deep it lies."""
    refuse_non_finite(tree)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_number_that_json_cannot_hold_is_refused_with_its_path(linear, value):
    """Msgspec would write null; the error says where the number stands."""
    metadata = replace(
        linear.file.metadata,
        provenance=replace(linear.file.metadata.provenance, parameters={"model": {"alphas": [0.1, float(value)]}}),
    )

    with pytest.raises(MetadataError, match=r"\$\.provenance\.parameters\.model\.alphas\[1\] is -?(nan|inf)"):
        write_metadata(metadata)


@pytest.mark.parametrize("value", [np.int64(3), {1, object()}, object(), "\ud800"])
def test_value_without_a_form_in_json_is_refused_with_its_part(linear, value):
    """A parameter that is no JSON value is a clear error, whatever msgspec raises for it."""
    metadata = replace(
        linear.file.metadata, provenance=replace(linear.file.metadata.provenance, parameters={"depth": value})
    )

    with pytest.raises(MetadataError, match="provenance cannot be written"):
        write_metadata(metadata)


def test_metadata_comes_back_through_the_session(linear):
    """What onnxruntime hands out decodes to what was built, reference and golden rows included."""
    assert read_metadata(properties_of(open_session(linear.file.data))) == linear.file.metadata


def test_metadata_says_what_the_file_is(linear, cancer):
    """The parts stand under `hotgate.*`, one digest for all that was measured, columns in order."""
    _, _, names = cancer
    model = parse(linear.file.data)
    metadata = linear.file.metadata

    assert sorted(item.key for item in model.metadata_props) == [
        f"hotgate.{part}" for part in ("golden", "parity", "provenance", "reference", "signature")
    ]
    digests = {metadata.golden.graph_sha256, metadata.parity.graph_sha256, metadata.reference.graph_sha256}
    assert digests == {graph_sha256(model)}
    assert [column.name for column in metadata.signature.columns] == names
    assert metadata.signature.labels == ("malignant", "benign")
    assert metadata.signature.classes == (0, 1)
    assert len(metadata.golden.rows) == 16


@pytest.mark.parametrize("part", ["signature", "reference", "golden", "parity", "provenance"])
def test_missing_part_is_refused_by_name(linear, part):
    """A plain ONNX file, or one that lost a part, is told how model files are made."""
    properties = write_metadata(linear.file.metadata)
    del properties[f"hotgate.{part}"]

    with pytest.raises(MetadataError, match=rf"no hotgate\.{part} in the file: .* `hotgate convert`"):
        read_metadata(properties)


@pytest.mark.parametrize("part", ["signature", "reference", "golden", "parity", "provenance"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\udc80"])
def test_part_that_does_not_decode_is_refused_by_name(linear, part, text):
    """No text in a part raises anything but a MetadataError that names it."""
    with pytest.raises(MetadataError, match=rf"hotgate\.{part}: "):
        read_metadata({**write_metadata(linear.file.metadata), f"hotgate.{part}": text})


def _parity(metadata, **changes):
    return replace(metadata, parity=replace(metadata.parity, **changes))


def _signature(metadata, **changes):
    return replace(metadata, signature=replace(metadata.signature, **changes))


def _target(metadata, **changes):
    return _signature(metadata, targets=(replace(metadata.signature.targets[0], **changes),))


def _golden(metadata, **changes):
    return replace(metadata, golden=replace(metadata.golden, **changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: _golden(m, graph_sha256="0" * 64), "not measured on the same graph"),
        (lambda m: _parity(m, graph_sha256="0" * 64), "not measured on the same graph"),
        (lambda m: replace(m, reference=replace(m.reference, graph_sha256="0" * 64)), "not measured on the same"),
        (lambda m: _signature(m, columns=(m.signature.columns[0],) * 30), "names a column twice"),
        (lambda m: _signature(m, columns=m.signature.columns[::-1]), "features are not the signature's columns"),
        (lambda m: _signature(m, columns=m.signature.columns[:-1]), "features are not the signature's columns"),
        (
            lambda m: _signature(m, columns=[replace(column, kind="int") for column in m.signature.columns]),
            "features are not the signature's columns",
        ),
        (lambda m: _signature(m, columns=()), "0 columns"),
        (lambda m: _target(m, classes=(0, 1, 2)), "3 classes, 2 labels, 2 scores"),
        (lambda m: _target(m, classes=(0,), labels=("a",)), "1 classes"),
        (lambda m: _target(m, decides="sign"), "decides by sign"),
        (lambda m: _target(m, scale=0.0), "2 classes"),
        (lambda m: _signature(m, targets=()), "no target"),
        (lambda m: _signature(m, text_input="S"), "text columns"),
        (lambda m: _golden(m, rows=m.golden.rows[1:]), "differ in number"),
        (lambda m: _golden(m, rows=(), answers=()), "differ in number"),
        (lambda m: _golden(m, rows=tuple(row[1:] for row in m.golden.rows)), "another width"),
        (lambda m: _golden(m, answers=tuple((*p, 0.0) for p in m.golden.answers)), "another width"),
        (lambda m: _parity(m, passed=False), "certificate says it failed"),
        (lambda m: _parity(m, tolerance=2 * MAX_TOLERANCE), r"allows 0\.002, at most 0\.001"),
        (lambda m: _parity(m, tolerance=-1.0), "allows -1"),
        (lambda m: _parity(m, error_max=0.5), r"passed, but was off by 0\.5"),
        (lambda m: _parity(m, error_max=-1.0, error_p999=-1.0), "passed, but was off by"),
        (lambda m: _parity(m, label_flips=1, flip_margin_max=0.3), r"passed, but was off by 0\.3"),
        (lambda m: _parity(m, heldout_rows=0), "on 0 held-out rows"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(linear, change, message):
    """One file says one thing: digests, widths, names and the certificate's own figures agree."""
    properties = write_metadata(change(linear.file.metadata))

    with pytest.raises(MetadataError, match=message):
        read_metadata(properties)


def test_equal_inputs_give_equal_bytes_in_any_process():
    """The file's SHA-256 is its identity: neither hash seed nor process changes it."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    digests = {child.communicate(timeout=120)[0] for child in children}

    assert [child.returncode for child in children] == [0, 0]
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_graph_digest_ignores_metadata(linear):
    """Certificate and golden rows can name the graph that they then travel with."""
    model = parse(linear.file.data)
    other = parse(with_properties(model, {"hotgate.note": "x"}))

    assert graph_sha256(other) == graph_sha256(model)
    assert [item.key for item in other.metadata_props] == ["hotgate.note"]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.initializer[0].double_data.append(0.0),
        lambda model: setattr(model.graph.node[0], "name", "other"),
        lambda model: setattr(model.graph.node[-1], "op_type", "Identity"),
        lambda model: model.graph.node[0].attribute.add(name="x", type=onnx.AttributeProto.INT, i=1),
        lambda model: setattr(model.opset_import[0], "version", 20),
        lambda model: setattr(model, "ir_version", 9),
        lambda model: setattr(model, "producer_version", "0"),
        lambda model: model.graph.output.pop(),
        lambda model: model.graph.metadata_props.add(key="k", value="v"),
    ],
)
def test_graph_digest_sees_any_other_change(forest, change):
    """Whatever onnxruntime could read differently gives another digest."""
    model = parse(forest.file.data)
    if not model.graph.initializer:
        model.graph.initializer.add(name="unused")
    before = graph_sha256(model)

    change(model)

    assert graph_sha256(model) != before


def test_every_exported_name_is_there():
    """The lazy table and `__all__` hold the same names, and each is found."""
    assert converters.__all__ == sorted(converters._HOMES)
    assert all(getattr(converters, name).__name__ == name for name in converters.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = converters.nothing


def test_reading_a_model_file_loads_no_converter(linear):
    """A worker that reads metadata and scores has neither onnx nor skl2onnx, sklearn or scipy.stats in memory."""
    code = (
        "import sys; from converters import open_session, read_metadata, check_golden\n"
        "from converters.session import properties_of, score\n"
        "session = open_session(open(sys.argv[1], 'rb').read()); metadata = read_metadata(properties_of(session))\n"
        "check_golden(lambda rows, texts: score(session, metadata.signature, rows, texts), metadata)\n"
        "print(*sorted({'onnx', 'skl2onnx', 'sklearn', 'scipy', 'mlflow', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(linear.path)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
