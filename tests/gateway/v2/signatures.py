"""Signatures of the kinds of model that the protocol's tests need."""

from __future__ import annotations

from converters.modelfile import Column, Signature, Target

NUMBERS = Signature(
    columns=(Column(name="a"), Column(name="b"), Column(name="c", missing=True)),
    input_name="X",
    targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
    score_output="scores",
)

MIXED = Signature(
    columns=(
        Column(name="age", kind="int"),
        Column(name="town", kind="string", missing=True),
        Column(name="member", kind="bool"),
        Column(name="income"),
    ),
    form="table",
    input_name="X",
    text_input="T",
    targets=(Target(classes=("bad", "good"), labels=("bad", "good"), width=2),),
    score_output="scores",
)


def with_targets(*targets):
    """A model of one number with these targets."""
    return Signature(columns=(Column(name="a"),), input_name="X", targets=targets, score_output="scores")
