"""Graphs made to loop, to crash or to fill the memory: refused for what they are before onnxruntime sees them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError
from converters.forest import MAX_DEPTH, check_forest
from converters.graph import MAX_NODES, MAX_TENSORS, check_graph
from converters.operators import MAX_SKIPS, check_divisions, open_divisors
from converters.session import open_session
from converters.verify import _types

ML, MS = "ai.onnx.ml", "com.microsoft"
STUMP = {
    "nodes_treeids": [0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 0],
    "nodes_featureids": [0, 0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 0],
    "target_treeids": [0, 0, 1],
    "target_nodeids": [1, 2, 0],
    "target_ids": [0, 0, 0],
    "target_weights": [1.0, 2.0, 10.0],
    "n_targets": 1,
}


def trees(**changes):
    return helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain=ML, **{**STUMP, **changes})


def graph(*nodes, constants=()):
    """A model of two columns in and `Y` out."""
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in dict(constants).items()]
    made = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        tensors,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 21), (ML, 3), (MS, 1))]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def run(model, rows):
    return open_session(model.SerializeToString()).run(["Y"], {"X": np.array(rows, dtype=np.float32)})[0].tolist()


def test_forest_of_a_stump_and_a_leaf_passes():
    """What the cases below are made from is sound, and onnxruntime thinks so too."""
    model = graph(trees())
    check_graph(model)

    assert run(model, [[0, 0], [1, 0]]) == [[11.0], [12.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_truenodeids": [0, 0, 0, 0]}, "nodes in a cycle"),
        ({"nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF"]}, "two parents"),
        ({"nodes_truenodeids": [2, 0, 0, 0]}, "two parents"),
        ({"nodes_truenodeids": [99, 0, 0, 0]}, "goes to node 99, which"),
        ({"nodes_falsenodeids": [-1, 0, 0, 0]}, "goes to node -1, which"),
        ({"nodes_treeids": [0, 1, 0, 1], "nodes_nodeids": [0, 1, 2, 0]}, "goes to node 1, which"),
        ({"nodes_treeids": [2**62, 0, 0, 1]}, "goes to node 1, which"),
        ({"nodes_nodeids": [0, 1, 1, 0]}, "has a node twice"),
        ({"nodes_featureids": [-1, 0, 0, 0]}, "reads column -1"),
        ({"nodes_featureids": [0]}, "lists of unequal length"),
        ({"nodes_modes": ["BRANCH_LEQ"]}, "lists of unequal length"),
        ({"nodes_truenodeids": [1]}, "lists of unequal length"),
    ],
)
def test_ensemble_that_is_no_forest_is_refused(changes, message):
    """Cycles, shared or unknown nodes, lists that do not fit each other."""
    with pytest.raises(ConversionError, match=message):
        check_graph(graph(trees(**changes)))


def chain(depth):
    """One tree, each of whose branches has a leaf and the next branch."""
    count = 2 * depth + 1
    branch = [place % 2 == 0 and place < count - 1 for place in range(count)]
    return trees(
        nodes_treeids=[0] * count,
        nodes_nodeids=list(range(count)),
        nodes_featureids=[0] * count,
        nodes_values=[0.0] * count,
        nodes_modes=["BRANCH_LEQ" if it else "LEAF" for it in branch],
        nodes_truenodeids=[place + 1 if it else 0 for place, it in enumerate(branch)],
        nodes_falsenodeids=[place + 2 if it else 0 for place, it in enumerate(branch)],
        target_treeids=[0],
        target_nodeids=[1],
        target_ids=[0],
        target_weights=[1.0],
    )


def test_tree_that_would_overflow_the_stack_is_refused():
    """The deepest that is let in loads; one more is refused, since so would be what kills the process."""
    deepest = graph(chain(MAX_DEPTH))
    check_graph(deepest)

    assert run(deepest, [[-1, 0]]) == [[1.0]]
    with pytest.raises(ConversionError, match="deeper than 2,000"):
        check_graph(graph(chain(MAX_DEPTH + 1)))


def test_order_of_an_ensembles_nodes_is_free():
    """Trees may stand mixed, and ids of trees and nodes need not be dense."""
    order = np.random.default_rng(1).permutation(4)
    lists = {name: [STUMP[name][place] for place in order] for name in STUMP if name.startswith("nodes_")}
    check_forest(trees(**lists))
    check_forest(trees(**(lists | {"nodes_treeids": [value * 2**40 for value in lists["nodes_treeids"]]})))


def node(operator, *inputs, to="Y", domain="", **attributes):
    return helper.make_node(operator, inputs, [to], domain=domain, **attributes)


WHOLE = helper.make_node("Cast", ["X"], ["whole"], to=TensorProto.INT64)


@pytest.mark.parametrize(
    "sized",
    [
        node("ConstantOfShape", "flat"),
        node("Expand", "X", "flat"),
        node("Tile", "X", "flat"),
        node("Pad", "X", "flat"),
        node("Range", "one", "first", "one"),
        node("OneHot", "flat", "first", "ends"),
        node("Reshape", "X", "flat"),
        node("Slice", "X", "flat", "flat"),
        node("TopK", "X", "first"),
    ],
    ids=lambda made: made.op_type,
)
def test_size_that_a_row_chooses_is_refused(sized):
    """Golden rows would ask for little, and one client's row for all the memory of the worker."""
    flat = [WHOLE, node("Reshape", "whole", "minus", to="flat"), node("Gather", "flat", "one", to="first")]
    model = graph(*flat, sized, constants={"minus": [-1], "one": 1, "ends": [0.0, 1.0]})

    with pytest.raises(ConversionError, match=f"operator {sized.op_type} takes a size from the values of a row"):
        check_graph(model)


def test_size_that_follows_from_the_number_of_rows_is_let_in():
    """As converters make constants of it."""
    model = graph(node("Shape", "X", to="shape"), node("ConstantOfShape", "shape"))
    check_graph(model)

    assert run(model, [[5, 5]]) == [[0.0, 0.0]]


def test_nodes_out_of_order_are_refused():
    """What follows from what could not be told in one pass."""
    with pytest.raises(ConversionError, match="operator Neg takes 'later', which no node before it gives"):
        check_graph(graph(node("Neg", "later"), node("Abs", "X", to="later")))


DIVISIONS = [
    ([WHOLE, node("Div", "whole", "by")], {"by": [-1]}, "divides integers by -1"),
    ([WHOLE, node("Div", "whole", "by")], {"by": [3, 0]}, "divides integers by 0"),
    (
        [
            WHOLE,
            helper.make_node("Constant", [], ["by"], value=numpy_helper.from_array(np.array([-1]))),
            node("Div", "whole", "by"),
        ],
        {},
        "divides integers by -1",
    ),
    ([WHOLE, helper.make_node("Neg", ["whole"], ["by"]), node("Div", "whole", "by")], {}, "by the computed 'by'"),
]


@pytest.mark.parametrize(("nodes", "constants", "message"), DIVISIONS)
def test_integers_are_divided_by_positive_constants_only(nodes, constants, message):
    """The smallest integer by -1 ends the process with SIGFPE: a client's row would do, where no golden row does."""
    model = graph(*nodes, constants=constants)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    check_graph(model)

    with pytest.raises(ConversionError, match=message):
        check_divisions(model.graph, _types(model, open_divisors(model.graph)))


def test_divisor_that_holds_less_than_it_claims_is_refused():
    """Four bytes under the dimensions of a gigabyte."""
    model = graph(node("Div", "X", "by"))
    model.graph.initializer.append(TensorProto(name="by", data_type=TensorProto.FLOAT, dims=[2**28], raw_data=b"1234"))

    with pytest.raises(ConversionError, match="tensor 'by' does not hold what it claims"):
        check_divisions(model.graph, {})


def test_numbers_may_be_divided_by_anything():
    """By a constant below 0, by what is computed, behind an operator of another domain too."""
    model = graph(
        node("CDist", "X", "X", domain=MS, to="far"),
        node("Div", "far", "minus", to="near"),
        node("Div", "near", "far"),
        constants={"minus": np.float32([-1])},
    )
    check_graph(model)

    assert open_divisors(model.graph) == ["far"]
    check_divisions(model.graph, _types(model, ["far"]))


def test_vectorizer_that_skips_without_end_is_refused():
    """The runtime tries each number of skipped words: with 2**31 of them, one text of two words takes minutes."""
    attributes = {"mode": "TF", "max_gram_length": 2, "min_gram_length": 1, "ngram_counts": [0, 2]}
    pool = {"ngram_indexes": [0, 1, 2], "pool_int64s": [1, 2, 1, 1]}
    for skips, refused in ((MAX_SKIPS, False), (2**31 - 2, True)):
        model = graph(WHOLE, node("TfIdfVectorizer", "whole", max_skip_count=skips, **attributes, **pool))
        if refused:
            with pytest.raises(ConversionError, match=r"skips up to 2,147,483,646 words"):
                check_graph(model)
        else:
            check_graph(model)
            assert run(model, [[1, 1], [2, 1]]) == [[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        (MS, "Abs"),
        (MS, "TreeEnsembleRegressor"),
        (MS, "Inverse"),
        (ML, "CDist"),
        ("", "CDist"),
        ("", "Scaler"),
        (ML, "Abs"),
        (ML, "TreeEnsemble"),
        ("", "Scan"),
        ("", "Einsum"),
        ("local_domain", "Abs"),
    ],
)
def test_domain_lets_in_no_more_than_is_named(domain, operator):
    """An operator of one domain is none of another."""
    with pytest.raises(ConversionError, match=rf"operator {domain or 'ai.onnx'}\.{operator} is not allowed"):
        check_graph(graph(node(operator, "X", domain=domain)))


@pytest.mark.parametrize(
    ("grow", "message"),
    [
        (
            lambda model: model.graph.node.extend([onnx.NodeProto(op_type="Abs")] * (MAX_NODES + 1)),
            "100,002 nodes, at most",
        ),
        (
            lambda model: model.graph.initializer.extend([TensorProto()] * (MAX_TENSORS + 1)),
            "100,001 tensors, at most",
        ),
        (
            lambda model: model.metadata_props.add(key="k", value="v" * 64 * 2**20),
            "67,108,865 characters of metadata, at most",
        ),
        (lambda model: model.graph.sparse_initializer.add(), "sparse tensors are not allowed"),
    ],
)
def test_what_a_file_may_hold_is_counted(grow, message):
    """Nodes, tensors, metadata: counted before any of it is looked at."""
    model = graph(node("Abs", "X"))
    grow(model)

    with pytest.raises(ConversionError, match=message):
        check_graph(model)
