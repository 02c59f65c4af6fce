"""The rooms and arrows of the architecture: import-linter holds them, and each contract is seen to break."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["benchmarks", "converters", "deploy", "gateway", "monitoring", "training"]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {contract["name"]: contract for contract in SETTINGS["tool"]["importlinter"]["contracts"]}

MONITORING = "monitoring is arrays in, verdicts out"
CONVERTERS = "converters know neither the server nor the registry, and unpickle nothing"
TRAINING = "training never imports the server"
GATEWAY = "the gateway never trains or converts"
PICKLE = "the gateway never unpickles or parses a graph"
SIDECAR = "mlflow only in the sidecar"
REGISTRY = "a worker never talks to the registry"
EDGE = "only a process's edge knows the command line and the settings' files"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of all rooms, to be broken."""
    root = tmp_path_factory.mktemp("checkout")
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copy(ROOT / "hotgate.py", root)
    return root


LINTER = """
import sys
from importlinter.cli import lint_imports
for _ in sys.stdin:
    print("\\nexit code", lint_imports(no_cache=True), flush=True)
"""


@pytest.fixture(scope="module")
def lint(checkout):
    """Run import-linter in the checkout: its exit code and the contracts that it says are broken.

    One process lints again and again, and starts from the files each time: without a cache no graph is kept.
    """

    def run():
        process.stdin.write("again\n")
        process.stdin.flush()
        lines = []
        while not lines or not lines[-1].startswith("exit code "):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        names = [line.rsplit("(", 1)[0].strip() for line in lines]
        broken = [name.removesuffix(" BROKEN") for name in names if name.endswith(" BROKEN")]
        kept = [name.removesuffix(" KEPT") for name in names if name.endswith(" KEPT")]
        assert sorted(broken + kept) == sorted(CONTRACTS), "".join(lines)
        return int(lines[-1].split()[-1]), broken

    with subprocess.Popen(
        [sys.executable, "-c", LINTER],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"COLUMNS": "400"},
    ) as process:
        yield run
        process.stdin.close()


def test_every_room_is_linted():
    """A new top folder with Python in it is a room, and is in the wheel unless it is tests."""
    rooms = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests")

    assert rooms == ROOMS
    assert sorted(SETTINGS["tool"]["importlinter"]["root_packages"]) == ROOMS
    packages = set(SETTINGS["tool"]["setuptools"]["packages"])
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for room in ROOMS for path in (ROOT / room).rglob("__init__.py")
    }
    assert packages == folders


def test_the_rooms_hold(lint):
    """No contract is broken as the code stands."""
    assert lint() == (0, [])


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("monitoring/psi.py", "import gateway.store", MONITORING),
        ("monitoring/psi.py", "import converters.modelfile", MONITORING),
        ("monitoring/psi.py", "import onnxruntime", MONITORING),
        ("monitoring/psi.py", "from scipy.special import chdtrc", MONITORING),
        ("monitoring/psi.py", "import mlflow.tracking", MONITORING),
        ("monitoring/psi.py", "from http.client import HTTPConnection", MONITORING),
        ("converters/session.py", "import gateway.store", CONVERTERS),
        ("converters/session.py", "import training.data", CONVERTERS),
        ("converters/session.py", "from litestar import get", CONVERTERS),
        ("converters/session.py", "import mlflow", CONVERTERS),
        ("converters/session.py", "import pickle", CONVERTERS),
        ("training/data.py", "from gateway import store", TRAINING),
        ("training/data.py", "import litestar", TRAINING),
        ("gateway/store.py", "import training.data", GATEWAY),
        ("gateway/store.py", "import sklearn.base", GATEWAY),
        ("gateway/store.py", "from converters import conversion", GATEWAY),
        ("gateway/store.py", "def later():\n    import converters.build", GATEWAY),
        ("gateway/store.py", "import converters.oracle", GATEWAY),
        ("gateway/store.py", "import pickle", PICKLE),
        ("gateway/store.py", "import joblib", PICKLE),
        ("gateway/store.py", "import onnx", PICKLE),
        ("gateway/store.py", "import mlflow", SIDECAR),
        ("gateway/application.py", "from gateway.sync import http", REGISTRY),
        ("gateway/application.py", "import gateway.sync.embedded", REGISTRY),
        ("gateway/store.py", "from hotgate import home", EDGE),
        ("training/data.py", "import hotgate", EDGE),
        ("converters/session.py", "import hotgate", EDGE),
        ("monitoring/psi.py", "import hotgate", EDGE),
    ],
)
def test_forbidden_import_breaks_its_contract(checkout, lint, module, statement, contract):
    """Also inside a function, and through another room."""
    path = checkout / module
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n{statement}\n", encoding="utf-8")
    try:
        code, broken = lint()
    finally:
        path.write_text(text, encoding="utf-8")

    assert code == 1
    assert contract in broken


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        (
            "gateway/store.py",
            "from converters import read_metadata\nimport converters.golden\nimport converters.session",
        ),
        ("gateway/store.py", "import converters.verify\nfrom monitoring import DriftWindow"),
        ("gateway/sync/base.py", "def later():\n    import mlflow"),
        ("gateway/cli.py", "import hotgate"),
        (
            "training/data.py",
            "import sklearn\nimport mlflow\nfrom converters import build_model_file\nimport monitoring.psi",
        ),
        ("converters/build.py", "import sklearn\nimport skl2onnx\nimport monitoring.reference"),
        ("deploy/cli.py", "import gateway.store\nimport training.data\nimport benchmarks.cli\nimport mlflow"),
    ],
)
def test_import_that_the_table_allows_breaks_nothing(checkout, lint, module, statement):
    """The contracts are no stricter than the table."""
    path = checkout / module
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n{statement}\n", encoding="utf-8")
    try:
        assert lint() == (0, [])
    finally:
        path.write_text(text, encoding="utf-8")


HEAVY = {"numpy", "scipy", "onnx", "onnxruntime", "skl2onnx", "sklearn", "mlflow", "litestar", "pandas", "pickle"}


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_room_imports_nothing_heavy(room):
    """A room's `__init__` hands its names out lazily."""
    code = f"import sys, {room}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


@pytest.mark.parametrize("room", ["converters", "monitoring"])
def test_lazy_names_are_those_that_the_type_checker_sees(room):
    """The names under TYPE_CHECKING, in `__all__` and in the lazy table are the same."""
    import ast
    import importlib

    module = importlib.import_module(room)
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: part.module for part in guarded.body for alias in part.names}

    assert sorted(seen) == module.__all__ == sorted(module._HOMES)
    assert {name: f"{room}.{home}" for name, home in module._HOMES.items()} == seen
    # A submodule named like an exported name would hide it as soon as it is imported.
    assert not set(module._HOMES.values()) & set(module.__all__)
