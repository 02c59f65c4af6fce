"""Requests of MLflow's scoring protocol, good and bad: for a model with the columns a, b and c, and for a mixed one."""

from __future__ import annotations

import json

__all__ = ["COLUMNS", "CORPUS", "CSV", "JSON", "MIXED", "MIXED_ROW", "NAMED", "ROWS"]

JSON = "application/json"
CSV = "text/csv"
ROWS = [[12.5, 18.0, 80.0], [20.5, 25.0, 130.0]]
NAMED = [dict(zip("abc", row, strict=True)) for row in ROWS]
COLUMNS = {"a": [12.5, 20.5], "b": [18.0, 25.0], "c": [80.0, 130.0]}


def _split(data=ROWS, columns=("a", "b", "c"), **more):
    return {"dataframe_split": {"columns": list(columns), "data": data, **more}}


def _changed(value, *, place=1):
    """The rows with one value of the first one changed."""
    return [[*ROWS[0][:place], value, *ROWS[0][place + 1 :]], ROWS[1]]


_JSON_BODIES = {
    # dataframe_split
    "split": _split(),
    "split with an index": _split(index=[7, 9]),
    "split with a short index": _split(index=[7]),
    "split without columns": {"dataframe_split": {"data": ROWS}},
    "split, columns null": {"dataframe_split": {"columns": None, "data": ROWS}},
    "split in another order": _split([[80.0, 12.5, 18.0], [130.0, 20.5, 25.0]], "cab"),
    "split with an extra column": _split([[*row, "x"] for row in ROWS], "abcd"),
    "split without a column": _split([row[:2] for row in ROWS], "ab"),
    "split, another name": _split(columns="abx"),
    "split, a name twice": _split([[*row, 1.0] for row in ROWS], "abcc"),
    "split, rows too wide": _split([[*row, 1.0] for row in ROWS]),
    "split, rows too narrow": _split([row[:2] for row in ROWS]),
    "split, one row too narrow": _split([ROWS[0], ROWS[1][:2]]),
    "split, one row too wide": _split([ROWS[0], [*ROWS[1], 1.0]]),
    "split, no rows": _split([]),
    "split without data": {"dataframe_split": {"columns": ["a", "b", "c"]}},
    "split, unknown key": _split(rows=[]),
    "split as a list": {"dataframe_split": ROWS},
    "split as null": {"dataframe_split": None},
    "split, data null": _split(None),
    "split, data a number": _split(5),
    "split, data flat": _split(ROWS[0]),
    "split, data of objects": _split(NAMED),
    "split, columns a string": {"dataframe_split": {"columns": "abc", "data": ROWS}},
    # values
    "integers": _split([[12, 18, 80], [20, 25, 130]]),
    "null": _split(_changed(None)),
    "NaN": _split(_changed(float("nan"))),
    "Infinity": _split(_changed(float("inf"))),
    "a number as a string": _split(_changed("18.0")),
    "a number with spaces as a string": _split(_changed(" 18.0 ")),
    "a word": _split(_changed("x")),
    "an empty string": _split(_changed("")),
    "the string nan": _split(_changed("nan")),
    "true": _split(_changed(value=True)),
    "a list for a value": _split(_changed([18.0])),
    "an object for a value": _split(_changed({"x": 18.0})),
    "a large integer": _split(_changed(10**30)),
    "an integer beyond doubles": _split(_changed(10**400)),
    "beyond float32": _split(_changed(1e39)),
    # dataframe_records
    "records": {"dataframe_records": NAMED},
    "records, reordered": {"dataframe_records": [dict(reversed(row.items())) for row in NAMED]},
    "records with an extra name": {"dataframe_records": [{**row, "d": "x"} for row in NAMED]},
    "records without a name": {"dataframe_records": [{"a": 1.0, "b": 2.0}]},
    "records, one without a name": {"dataframe_records": [NAMED[0], {"a": 1.0, "b": 2.0}]},
    "records as an object": {"dataframe_records": NAMED[0]},
    "records as a number": {"dataframe_records": 5},
    "records as lists": {"dataframe_records": ROWS},
    "records, empty": {"dataframe_records": []},
    "records, one a number": {"dataframe_records": [NAMED[0], 5]},
    # instances
    "instances by name": {"instances": NAMED},
    "instances with an extra name": {"instances": [{**row, "d": 1.0} for row in NAMED]},
    "instances, one without a name": {"instances": [NAMED[0], {"a": 1.0, "b": 2.0}]},
    "instances as lists": {"instances": ROWS},
    "instances, too narrow": {"instances": [row[:2] for row in ROWS]},
    "instances, ragged": {"instances": [ROWS[0], ROWS[1][:2]]},
    "instances, a word": {"instances": _changed("x")},
    "instances, a word by name": {"instances": [{**NAMED[0], "b": "x"}]},
    "instances, a list for a value": {"instances": [{**NAMED[0], "b": [1.0]}]},
    "instances, empty": {"instances": []},
    "instances as columns": {"instances": COLUMNS},
    "instances as a number": {"instances": 5},
    "instances as null": {"instances": None},
    "instances, mixed": {"instances": [NAMED[0], ROWS[1]]},
    "instances, one row flat": {"instances": ROWS[0]},
    # inputs
    "inputs by column": {"inputs": COLUMNS},
    "inputs, reordered": {"inputs": dict(reversed(COLUMNS.items()))},
    "inputs with an extra column": {"inputs": {**COLUMNS, "d": [1.0, 2.0]}},
    "inputs without a column": {"inputs": {"a": [1.0], "b": [2.0]}},
    "inputs of unequal length": {"inputs": {**COLUMNS, "c": [80.0]}},
    "inputs, one row of numbers": {"inputs": NAMED[0]},
    "inputs, a number beside lists": {"inputs": {**COLUMNS, "b": 18.0}},
    "inputs, a word": {"inputs": {**COLUMNS, "b": ["x", "y"]}},
    "inputs, a matrix for a column": {"inputs": {**COLUMNS, "b": [[18.0], [25.0]]}},
    "inputs as records": {"inputs": NAMED},
    "inputs as records, one without a name": {"inputs": [NAMED[0], {"a": 1.0, "b": 2.0}]},
    "inputs as lists": {"inputs": ROWS},
    "inputs, empty object": {"inputs": {}},
    "inputs, empty lists": {"inputs": {"a": [], "b": [], "c": []}},
    "inputs as a word": {"inputs": "x"},
    # around the data
    "params": {**_split(), "params": {"temperature": 0.5}},
    "params, no object": {**_split(), "params": 5},
    "params alone": {"params": {}},
    "two shapes": {"instances": NAMED, "inputs": COLUMNS},
    "instances and a signature_name": {"instances": NAMED, "signature_name": "predict"},
    "unknown key": {**_split(), "x": 1},
    "only an unknown key": {"data": ROWS},
    "columns and data without a key": {"columns": ["a", "b", "c"], "data": ROWS},
    "no key": {},
    "a chat": {"messages": [{"role": "user", "content": "hello"}]},
    "a list": ROWS,
    "a number": 5,
    "null as a body": None,
}

_SPLIT = json.dumps(_split()).encode()
_CSV = b"a,b,c\n12.5,18.0,80.0\n20.5,25.0,130.0\n"

CORPUS: dict[str, tuple[str | None, bytes]] = {
    **{name: (JSON, json.dumps(body).encode()) for name, body in _JSON_BODIES.items()},
    "empty": (JSON, b""),
    "no JSON": (JSON, b"a=1"),
    "cut off": (JSON, _SPLIT[:-9]),
    "not UTF-8": (JSON, b'{"instances": [{"\xff": 1}]}'),
    "deeply nested": (JSON, b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a key twice": (JSON, b'{"instances": 5, "instances": [{"a": 12.5, "b": 18.0, "c": 80.0}]}'),
    "white space around": (JSON, b" \r\n" + _SPLIT + b"\n"),
    # content types
    "charset utf-8": ("application/json; charset=utf-8", _SPLIT),
    "charset UTF-8": ("application/json;charset=UTF-8", _SPLIT),
    "charset latin-1": ("application/json; charset=latin-1", _SPLIT),
    "another parameter": ("application/json; format=pandas-split", _SPLIT),
    "upper case": ("Application/JSON", _SPLIT),
    "plain text": ("text/plain", _SPLIT),
    "form": ("application/x-www-form-urlencoded", _SPLIT),
    "no content type": (None, _SPLIT),
    "parquet": ("application/vnd.apache.parquet", b"PAR1"),
    # CSV
    "csv": (CSV, _CSV),
    "csv, charset": ("text/csv; charset=utf-8", _CSV),
    "csv, charset latin-1": ("text/csv; charset=latin-1", _CSV),
    "csv, reordered": (CSV, b"c,a,b\n80.0,12.5,18.0\n130.0,20.5,25.0\n"),
    "csv with an index": (CSV, b",a,b,c\n0,12.5,18.0,80.0\n1,20.5,25.0,130.0\n"),
    "csv, CR LF": (CSV, _CSV.replace(b"\n", b"\r\n")),
    "csv, no last line end": (CSV, _CSV[:-1]),
    "csv, blank lines": (CSV, _CSV.replace(b"\n", b"\n\n")),
    "csv, byte order mark": (CSV, b"\xef\xbb\xbf" + _CSV),
    "csv, quoted": (CSV, b'"a","b","c"\n"12.5","18.0","80.0"\n'),
    "csv, spaces": (CSV, b"a,b,c\n 12.5, 18.0 , 80.0\n"),
    "csv, a quote left open": (CSV, b'a,b,c\n12.5,"18.0,80.0\n'),
    "csv, header only": (CSV, b"a,b,c\n"),
    "csv, empty": (CSV, b""),
    "csv, blank": (CSV, b"\n\n"),
    "csv without a header": (CSV, b"12.5,18.0,80.0\n20.5,25.0,130.0\n"),
    "csv without a column": (CSV, b"a,b\n12.5,18.0\n"),
    "csv, a field too many": (CSV, b"a,b,c\n12.5,18.0,80.0\n20.5,25.0,130.0,1\n"),
    "csv, all rows too wide": (CSV, b"a,b,c\n7,12.5,18.0,80.0\n8,20.5,25.0,130.0\n"),
    "csv, a field too few": (CSV, b"a,b,c\n12.5,18.0,80.0\n20.5,25.0\n"),
    "csv, missing value": (CSV, b"a,b,c\n12.5,,80.0\n"),
    "csv, NA": (CSV, b"a,b,c\n12.5,NA,80.0\n"),
    "csv, a word": (CSV, b"a,b,c\n12.5,x,80.0\n"),
    "csv, a word in an extra column": (CSV, b"a,b,c,d\n12.5,18.0,80.0,x\n"),
    "csv, a name twice": (CSV, b"a,b,c,c\n12.5,18.0,80.0,5\n"),
    "csv, inf": (CSV, b"a,b,c\n12.5,inf,80.0\n"),
    "csv, semicolons": (CSV, _CSV.replace(b",", b";")),
    "csv, not UTF-8": (CSV, b"a,b,c\n12.5,\xff,80.0\n"),
    "csv, a NUL": (CSV, b"a,b,c\n12.5,\x00,80.0\n"),
    "json as csv": (CSV, _SPLIT),
    "csv as json": (JSON, _CSV),
}
"""By name: content type and body."""

MIXED_ROW = {"age": 30.5, "city": "Bern", "visits": 3, "member": True}


def _records(**changed):
    return {"dataframe_records": [{**MIXED_ROW, **changed}, MIXED_ROW]}


_MIXED_BODIES = {
    "mixed records": _records(),
    "mixed split": {"dataframe_split": {"columns": list(MIXED_ROW), "data": [list(MIXED_ROW.values())]}},
    "mixed instances": {"instances": [dict(reversed(MIXED_ROW.items()))]},
    "mixed inputs": {"inputs": {name: [value, value] for name, value in MIXED_ROW.items()}},
    "mixed, age null": _records(age=None),
    "mixed, age NaN": _records(age=float("nan")),
    "mixed, age a whole number": _records(age=31),
    "mixed, age as a string": _records(age="30.5"),
    "mixed, city null": _records(city=None),
    "mixed, a new city": _records(city="Oslo"),
    "mixed, city empty": _records(city=""),
    "mixed, city a number": _records(city=5),
    "mixed, city a list": _records(city=["Bern"]),
    "mixed, visits null": _records(visits=None),
    "mixed, visits 3.0": _records(visits=3.0),
    "mixed, visits 3.5": _records(visits=3.5),
    "mixed, visits as a string": _records(visits="3"),
    "mixed, visits true": _records(visits=True),
    "mixed, member null": _records(member=None),
    "mixed, member 1": _records(member=1),
    "mixed, member 2": _records(member=2),
    "mixed, member as a string": _records(member="false"),
}

MIXED: dict[str, tuple[str | None, bytes]] = {
    **{name: (JSON, json.dumps(body).encode()) for name, body in _MIXED_BODIES.items()},
    "mixed csv": (CSV, b'age,city,visits,member\n30.5,"Bern",3,True\n30.5,Basel,4,False\n'),
    "mixed csv, age and city missing": (CSV, b"age,city,visits,member\n,,3,True\n,NA,3,False\n"),
    "mixed csv, member 1": (CSV, b"age,city,visits,member\n30.5,Bern,3,1\n30.5,Bern,3,True\n"),
    "mixed csv, visits missing": (CSV, b"age,city,visits,member\n30.5,Bern,,True\n"),
    "mixed csv, visits 3.5": (CSV, b"age,city,visits,member\n30.5,Bern,3.5,True\n"),
}
"""The same for the columns of `MIXED_ROW`: age and city may be missing as they are in the training data."""
