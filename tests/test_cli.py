"""The command line as a whole: what it knows of its commands, and that asking for help costs nothing."""

import importlib
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import click
import pytest
from click.testing import CliRunner

import hotgate

HEAVY = (
    "numpy", "scipy", "msgspec._testing", "litestar", "granian", "mlflow", "sklearn", "onnx", "onnxruntime", "skl2onnx",
    "pandas", "gateway", "training", "converters", "monitoring", "deploy", "benchmarks",
)  # fmt: skip


FLAGS = ("--help", "-h")


def run(code, given=""):
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)
    return done.stdout


def test_help_imports_nothing_heavy():
    """`hotgate --help` lists every command and loads no room and no large library."""
    printed = run(
        "import sys, hotgate\n"
        "try: hotgate.main(['--help'])\n"
        "except SystemExit as left: code = left.code\n"
        f"print('loaded', code, *(name for name in {HEAVY!r} if name in sys.modules))"
    )

    assert printed.splitlines()[-1] == "loaded 0"
    assert [name for name in hotgate.COMMANDS if not re.search(rf"^  {name}  ", printed, re.MULTILINE)] == []


HELPS = """
import contextlib, hotgate, io, json, sys
LARGE = {"litestar", "granian", "mlflow", "sklearn", "onnxruntime", "onnx", "skl2onnx", "pandas", "scipy"}
for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try: code = hotgate.main(arguments, prog_name="hotgate")
        except SystemExit as left: code = left.code
    print(json.dumps([code, sorted(LARGE & set(sys.modules)), printed.getvalue()]))
"""


@pytest.fixture(scope="module")
def helps():
    """What each command does when it is asked for help: exit code, large libraries loaded by then, what it prints.

    In a process of its own: click remembers a command's help options from the first test that called it by itself.
    """
    asked = [(name, flag) for flag in FLAGS for name in ("", *sorted(hotgate.COMMANDS))]
    given = json.dumps([[*name.split(), flag] for name, flag in asked])
    lines = run(HELPS, given).splitlines()
    return dict(zip(asked, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("name", sorted(hotgate.COMMANDS))
def test_help_of_a_command_imports_no_large_library(helps, name):
    """`hotgate NAME --help` answers at once: what computes or serves is imported when the command runs."""
    code, loaded, printed = helps[name, "--help"]

    assert printed.startswith("Usage: ")
    assert (code, loaded) == (0, [])


@pytest.mark.parametrize("name", sorted(hotgate.COMMANDS))
def test_command_is_there_under_its_name_with_its_summary(name):
    """The line that `hotgate --help` prints is the first sentence of the command's own help."""
    module, attribute = hotgate.COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)

    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == hotgate.SUMMARIES[name]


def test_every_command_has_a_summary():
    """Neither table has a name that the other lacks."""
    assert sorted(hotgate.SUMMARIES) == sorted(hotgate.COMMANDS)


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", ["", *sorted(hotgate.COMMANDS)])
def test_help_works(helps, name, flag):
    """Every command explains itself, says what its options mean, and exits 0."""
    code, _, printed = helps[name, flag]

    assert code == 0
    assert printed.startswith(f"Usage: hotgate {name}".rstrip())
    command = hotgate.main.get_command(click.Context(hotgate.main), name) if name else hotgate.main
    undescribed = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert undescribed == []


@pytest.mark.parametrize("arguments", [["frobnicate"], ["verify"], ["verify", "--frobnicate", "x"], ["--frobnicate"]])
def test_wrong_usage_exits_with_2(arguments):
    """An unknown command or option, or a missing argument, is told with the usage and no stack trace."""
    result = CliRunner().invoke(hotgate.main, arguments)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Traceback" not in result.output


def test_version_is_that_of_the_package():
    """`hotgate --version`."""
    assert version("hotgate") in CliRunner().invoke(hotgate.main, ["--version"]).output


def test_installed_script_is_this_command_line():
    """The wheel's `hotgate` runs `hotgate:main`."""
    (script,) = entry_points(group="console_scripts", name="hotgate")

    assert script.load() is hotgate.main


@pytest.mark.parametrize("name", ["serve", "sync"])
def test_impossible_setting_exits_with_2_and_a_sentence(name, tmp_path, monkeypatch):
    """Key, bound and value, no stack trace, before anything is started."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOTGATE_CONFIG", str(tmp_path / "hotgate.toml"))
    section = {"serve": "gateway", "sync": "sync"}[name]
    (tmp_path / "hotgate.toml").write_text(f"[{section}]\nfrobnicate = 1\n")
    result = CliRunner().invoke(hotgate.main, [name])

    assert result.exit_code == 2
    assert f"[{section}] has no key 'frobnicate'; it has " in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["hotgate.toml"]
