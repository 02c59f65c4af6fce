"""Setting up: locked requirements that fit both Pythons, and a `.venv` that is complete or made again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("all.txt", "gateway.txt", "setup.txt")
PYTHONS = ("3.11", "3.12")
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
    "extra": "",
}


def environment(python, extra=""):
    return {**PLATFORM, "python_version": python, "python_full_version": f"{python}.9", "extra": extra}


def text_of(name):
    return (ROOT / "requirements" / name).read_text(encoding="utf-8")


def locked(name):
    """The requirements of a lock file, each with its hashes."""
    entries = []
    for line in text_of(name).replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            entries.append((Requirement(requirement), hashes))
    return entries


def pins(name, python):
    """Canonical name -> versions that the lock installs under this Python on Linux."""
    found = {}
    for requirement, _ in locked(name):
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            found.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier))
    return found


def applies(requirement, python, extras=("",)):
    return requirement.marker is None or any(requirement.marker.evaluate(environment(python, e)) for e in extras)


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_and_hashed(name):
    """One exact version and at least one SHA-256 each, so that an index cannot hand out anything else."""
    entries = locked(name)

    assert entries
    for requirement, hashes in entries:
        assert re.fullmatch(r"==[0-9][0-9a-z.+!]*", str(requirement.specifier)), requirement
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_an_address(name):
    """No URL, host or option: the lock works with whatever index the machine has."""
    text = text_of(name)

    assert "://" not in text
    assert " @ " not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)
    assert all(requirement.url is None for requirement, _ in locked(name))


@pytest.mark.parametrize("python", PYTHONS)
def test_gateway_lock_is_a_part_of_the_whole_one(python):
    """A gateway's image runs the versions that were tested."""
    gateway, everything = pins("gateway.txt", python), pins("all.txt", python)

    assert {name: everything.get(name) for name in gateway} == gateway
    assert len(gateway) < len(everything)
    assert not {"mlflow", "scikit-learn", "skl2onnx", "pytest"} & gateway.keys()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_one_version_for_each_python(name, python):
    """Markers never leave two pins for one package."""
    assert [package for package, versions in pins(name, python).items() if len(versions) != 1] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("lock", "extras"), [("gateway.txt", ()), ("all.txt", ("train", "dev"))])
def test_lock_covers_what_the_project_asks_for(lock, extras, python):
    """Every dependency of pyproject.toml is pinned, within its bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(part for extra in extras for part in project["optional-dependencies"][extra])]
    found = pins(lock, python)
    for requirement in map(Requirement, asked):
        if applies(requirement, python):
            (pin,) = found[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin.removeprefix("=="), prereleases=True), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_is_closed(python):
    """What a pinned package needs under this Python is pinned too, within its bounds: no dependency is looked up."""
    found = pins("all.txt", python)
    installed = {canonicalize_name(one.metadata["Name"]): one for one in distributions()}
    checked, absent = 0, []
    for name in found.keys() & installed.keys():
        for requirement in map(Requirement, installed[name].requires or ()):
            if applies(requirement, python):
                pin = found.get(canonicalize_name(requirement.name), [""])[0].removeprefix("==")
                checked += 1
                if not pin or not requirement.specifier.contains(pin, prereleases=True):
                    absent.append(f"{name} needs {requirement}, locked is {pin or 'nothing'}")

    assert absent == []
    assert checked > 100


def test_environment_is_the_locked_one():
    """The tests run with what the lock says."""
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"

    different = {
        name: (version, installed.get(name))
        for name, (version,) in pins("all.txt", python).items()
        if version != f"=={installed.get(name)}"
    }
    assert different == {}


# A Python that records how it was called, makes `.venv` when asked to, and fails or kills make where it is told to.
FAKE = """#!/bin/sh
kill_make() { # a recipe line with quotes has a shell between make and us
  parent=$PPID
  [ "$(cat /proc/$parent/comm)" = make ] || parent=$(cut -d ' ' -f 4 /proc/$parent/stat)
  kill -9 "$parent"
}
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
  *"$FAIL_AT"*) [ -n "$FAIL_AT" ] && { [ -n "$KILL" ] && kill_make; exit 3; } ;;
esac
case "$*" in
  "-m venv --clear .venv")
    rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv && touch .venv/half ;;
esac
exit 0
"""

STEPS = [
    "python -c",
    "python -m venv --clear .venv",
    "python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt",
    "uv pip install --quiet --python .venv/bin/python --compile-bytecode --require-hashes -r requirements/all.txt",
    "uv pip install --quiet --python .venv/bin/python --no-build-isolation --no-deps --editable .",
]


class Checkout:
    """A folder with the real Makefile and shims in place of Python and uv."""

    def __init__(self, root):
        self.root = root
        self.log = root / "calls.log"
        (root / "requirements").mkdir()
        for name in ("Makefile", "pyproject.toml", *(f"requirements/{lock}" for lock in LOCKS)):
            shutil.copy(ROOT / name, root / name)
            os.utime(root / name, (1, 1))
        (root / "bin").mkdir()
        python = root / "bin" / "python"
        python.write_text(FAKE)
        python.chmod(0o755)

    def make(self, *goals, fail_at="", kill=""):
        """Run make; the exit code and the calls it made, cut to the steps' names."""
        self.log.write_text("")
        done = subprocess.run(
            ["make", f"PYTHON={self.root}/bin/python", *goals],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "LOG": str(self.log), "FAIL_AT": fail_at, "KILL": kill},
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # the shim kills its whole group, make included
        )
        calls = self.log.read_text().splitlines()
        return done.returncode, ["python -c" if call.startswith("python -c") else call for call in calls]

    @property
    def complete(self):
        """Whether the stamp is there."""
        return (self.root / ".venv" / ".complete").exists()


@pytest.fixture
def checkout(tmp_path):
    if shutil.which("make") is None:
        pytest.fail("make is not installed; `make test` is how the tests run")
    return Checkout(tmp_path)


def test_setup_takes_its_steps_in_order_and_stamps_last(checkout):
    """Version, `.venv`, installer, locked packages, hotgate itself; hashes required throughout."""
    assert checkout.make("setup") == (0, STEPS)
    assert checkout.complete


def test_finished_setup_is_reused(checkout):
    """A second `make setup` calls nothing."""
    checkout.make("setup")

    assert checkout.make("setup") == (0, [])


@pytest.mark.parametrize("goal", ["demo", "test", "check", "bench", "format", "lock"])
def test_goal_sets_up_first(checkout, goal):
    """On a fresh machine every goal begins with a complete `.venv`."""
    assert checkout.make(goal)[1][: len(STEPS)] == STEPS


@pytest.mark.parametrize("step", range(1, len(STEPS)))
@pytest.mark.parametrize("kill", ["", "1"])
def test_interrupted_setup_starts_again_from_nothing(checkout, step, kill):
    """Whichever step fails, or kills make outright: no stamp, and the next run does all of it."""
    code, calls = checkout.make("setup", fail_at=STEPS[step].split(" ", 1)[1], kill=kill)
    assert code == (-signal.SIGKILL if kill else 2)
    assert calls == STEPS[: step + 1]
    assert not checkout.complete

    assert checkout.make("setup") == (0, STEPS)
    assert checkout.complete


@pytest.mark.parametrize("name", ["requirements/all.txt", "requirements/setup.txt", "pyproject.toml"])
@pytest.mark.parametrize("fail_at", ["-c import sys", "--editable"])
def test_changed_lock_builds_again(checkout, name, fail_at):
    """Newer requirements clear `.venv`; if that fails, the old stamp does not vouch for it."""
    checkout.make("setup")
    later = (checkout.root / ".venv" / ".complete").stat().st_mtime + 10
    os.utime(checkout.root / name, (later, later))

    assert checkout.make("setup", fail_at=fail_at)[0] == 2
    assert not checkout.complete
    assert checkout.make("setup")[1] == STEPS


def test_wrong_python_is_refused_with_the_cure(checkout):
    """Before `.venv` is touched."""
    code, calls = checkout.make("setup", fail_at="-c import sys")

    assert (code, calls) == (2, ["python -c"])
    assert not (checkout.root / ".venv").exists()


def test_clean_keeps_the_state(checkout):
    """`make clean` removes `.venv`, not `.hotgate`."""
    checkout.make("setup")
    (checkout.root / ".hotgate").mkdir()

    assert checkout.make("clean")[0] == 0
    assert not (checkout.root / ".venv").exists()
    assert (checkout.root / ".hotgate").exists()


def test_help_lists_every_goal(checkout):
    """A bare `make` explains itself and changes nothing."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    done = subprocess.run(["make"], cwd=checkout.root, capture_output=True, text=True, check=True)

    assert re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE) == phony
    assert not (checkout.root / ".venv").exists()


def test_ci_runs_check_tests_and_demo():
    """What a change must pass is one executable script."""
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert [goal for goal in ("make check", "make test", "make demo") if goal not in text] == []
