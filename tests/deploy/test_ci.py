"""The files for users' CI: valid, and their shell steps run as they stand, with the commands they call recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CI = ROOT / "deploy" / "ci"
WORKFLOWS = sorted((CI / "github").glob("*.yml"))
BIN = Path(sys.executable).parent
CANDIDATE = '{"name": "cancer-classifier", "version": "7", "sha256": "ab", "created": true, "file": "m.onnx"}'

RECORDER = """#!/bin/sh
name="$(basename "$0")"
printf '%s' "$name" >> "$RECORDED/calls"
printf ' [%s]' "$@" >> "$RECORDED/calls"
echo >> "$RECORDED/calls"
[ "$name" != docker ] || [ "$1" != login ] || cat > "$RECORDED/password"
[ ! -f "$RECORDED/$name-$1.out" ] || cat "$RECORDED/$name-$1.out"
[ ! -f "$RECORDED/$name-$1.code" ] || exit "$(cat "$RECORDED/$name-$1.code")"
"""

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed: apt-get install jq")


class Recorded:
    """Commands that write down how they are called, answer as told, and do nothing else."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        (folder / "bin").mkdir()
        for name in names:
            (folder / "bin" / name).write_text(RECORDER)
            (folder / "bin" / name).chmod(0o755)

    def answer(self, command: str, out: str = "", code: int = 0) -> None:
        """Give `hotgate gate` and the like an output and an exit code."""
        (self.folder / f"{command.replace(' ', '-')}.out").write_text(out)
        (self.folder / f"{command.replace(' ', '-')}.code").write_text(str(code))

    @property
    def calls(self) -> list[str]:
        """Each call, as `name [argument] [argument]`."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script as the runners do: any failing command ends it."""
        base = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "RECORDED": str(self.folder), "HOME": "/nowhere"}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.work,
            env={**base, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def _resolve(text: str, context: dict[str, str]) -> str:
    """Put values in the place of `${{ name }}`; a name that the context lacks is an error."""
    return re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", lambda found: context[found[1]], text)


def _holds(condition: str | None, context: dict[str, str]) -> bool:
    """Whether a step's `if` does, for comparisons joined by `&&`."""
    for part in (condition or "").split("&&") if condition else ():
        name, sign, value = re.fullmatch(r"\s*([\w.]+) (==|!=) '([^']*)'\s*", part).groups()
        if (context[name] == value) != (sign == "=="):
            return False
    return True


def _run_job(workflow: str, job: str, recorded: Recorded, context: dict[str, str]) -> int:
    """Run a job's shell steps in turn, with what they hand on to each other; returns the first exit code but 0."""
    told = yaml.safe_load((CI / "github" / workflow).read_text())["jobs"][job]
    files = {
        name: recorded.folder / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
    }
    shared = {key: _resolve(value, context) for key, value in told.get("env", {}).items()}
    shared |= {"GITHUB_SHA": "c0ffee", "GITHUB_ACTOR": "ada", "GITHUB_REF_NAME": "main"}
    for step in told["steps"]:
        if "run" not in step or not _holds(step.get("if"), context):
            continue
        for file in files.values():
            file.write_text("")
        own = {key: _resolve(str(value), context) for key, value in step.get("env", {}).items()}
        done = recorded.run(step["run"], {**shared, **own, **{name: str(file) for name, file in files.items()}})
        if done.returncode:
            return done.returncode
        shared |= dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
        for line in files["GITHUB_OUTPUT"].read_text().splitlines():
            key, value = line.split("=", 1)
            context[f"steps.{step['id']}.outputs.{key}"] = value
    return 0


def _context(event: str) -> dict[str, str]:
    names = ("secrets.AWS_ACCESS_KEY_ID", "secrets.AWS_SECRET_ACCESS_KEY")
    names += ("secrets.MLFLOW_TRACKING_USERNAME", "secrets.MLFLOW_TRACKING_PASSWORD", "github.token")
    return {
        **dict.fromkeys(names, "secret"),
        "vars.MLFLOW_TRACKING_URI": "http://mlflow.example",
        "github.event_name": event,
        "github.ref": "refs/heads/main" if event == "push" else "refs/pull/12/merge",
        "github.event.pull_request.number": "12",
    }


@pytest.fixture
def recorded(tmp_path):
    told = Recorded(tmp_path, "make", "dvc", "hotgate", "gh", "docker", "apt-get", "curl")
    told.answer("hotgate pipeline", f"a line of progress\n{CANDIDATE}\n")
    told.answer("hotgate gate", "roc_auc  pass\np99      pass\n")
    told.answer("hotgate history", "[]")
    return told


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_valid(path):
    """Each workflow has GitHub's form."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_gitlab_pipeline_is_valid():
    """The equivalent has GitLab's form."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", CI / "gitlab-ci.yml"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_workflows_are_safe():
    """Zizmor finds nothing: actions are pinned, permissions least, no text of others runs as a command."""
    done = subprocess.run([BIN / "zizmor", "--offline", *WORKFLOWS], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_files_are_tidy():
    """Yamllint has nothing to say."""
    command = [BIN / "yamllint", "--strict", "--config-file", CI / "yamllint.yml", CI]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@needs_jq
def test_pull_request_is_told_and_promotes_nothing(recorded):
    """A candidate that passes is reported where it is discussed; Production is left alone."""
    code = _run_job("model.yml", "candidate", recorded, _context("pull_request"))

    assert code == 0
    assert recorded.calls[1:] == [
        "dvc [pull]",
        "hotgate [pipeline] [--json]",
        "hotgate [gate] [cancer-classifier] [7] [--junit] [gate.xml]",
        "gh [pr] [comment] [12] [--body-file] [report.md] [--edit-last] [--create-if-none]",
    ]
    report = (recorded.work / "report.md").read_text()
    assert report.splitlines()[0] == "### The gate of cancer-classifier version 7 passed"
    assert "roc_auc  pass" in report


@needs_jq
@pytest.mark.parametrize(("code", "word"), [(1, "failed"), (3, "is inconclusive")])
@pytest.mark.parametrize("event", ["pull_request", "push"])
def test_what_does_not_pass_is_told_and_not_promoted(recorded, event, code, word):
    """The job ends with the gate's own code, after the pull request was told."""
    recorded.answer("hotgate gate", "p99  too slow\n", code)

    ended = _run_job("model.yml", "candidate", recorded, _context(event))

    assert ended == code
    assert not [call for call in recorded.calls if "promote" in call]
    assert any(call.startswith("gh") for call in recorded.calls) == (event == "pull_request")
    assert (recorded.work / "report.md").read_text().splitlines()[0].endswith(word)


@needs_jq
def test_main_promotes_what_passes(recorded):
    """The decision names who pushed and which commit."""
    code = _run_job("model.yml", "candidate", recorded, _context("push"))

    assert code == 0
    assert recorded.calls[-1] == "hotgate [promote] [cancer-classifier] [7] [--who] [ada] [--reason] [commit c0ffee]"


@needs_jq
def test_other_branches_promote_nothing(recorded):
    """A run that somebody starts by hand on a branch ends with the gate."""
    context = {**_context("workflow_dispatch"), "github.ref": "refs/heads/idea"}

    code = _run_job("model.yml", "candidate", recorded, context)

    assert code == 0
    assert recorded.calls[-1].startswith("hotgate [gate]")


@needs_jq
def test_what_is_in_production_is_not_promoted_again(recorded):
    """A commit that changes nothing ends well."""
    recorded.answer(
        "hotgate history", '[{"target": "stage:Production", "to": "3"}, {"target": "stage:Production", "to": "7"}]'
    )

    code = _run_job("model.yml", "candidate", recorded, _context("push"))

    assert code == 0
    assert not [call for call in recorded.calls if "promote" in call]


@needs_jq
@pytest.mark.parametrize("command", ["dvc pull", "hotgate pipeline", "hotgate gate"])
def test_step_that_breaks_ends_the_job(recorded, command):
    """Data that cannot be pulled, a pipeline that fails behind `tee`, a gate without a registry: nothing follows."""
    recorded.answer(command, "", 4)

    code = _run_job("model.yml", "candidate", recorded, _context("pull_request"))

    assert code == 4
    assert recorded.calls[-1].startswith(command.replace(" ", " [") + "]")


def test_check_runs_the_targets(recorded):
    """Lint, types and tests are the same ones as by hand."""
    code = _run_job("check.yml", "check", recorded, {})

    assert code == 0
    assert [call.split(" [PYTHON")[0] for call in recorded.calls] == ["make [setup]", "make [check]", "make [test]"]


@pytest.mark.parametrize(("event", "pushed"), [("pull_request", 0), ("push", 2)])
@pytest.mark.parametrize("image", ["gateway", "training"])
def test_images_are_published_from_main_only(recorded, event, pushed, image):
    """A pull request's image is built and goes nowhere; the password is never an argument."""
    names = ("secrets.IMAGE_REGISTRY_USER", "secrets.IMAGE_REGISTRY_PASSWORD")
    context = {**_context(event), **dict.fromkeys(names, "hush"), "vars.IMAGE_REGISTRY": "images.example"}
    context |= {"vars.IMAGE_PREFIX": "images.example/team", "matrix.image": image}

    code = _run_job("images.yml", "images", recorded, context)

    assert code == 0
    assert recorded.calls[0].startswith(f"docker [build] [--file] [deploy/docker/{image}.Dockerfile]")
    assert len([call for call in recorded.calls if call.startswith("docker [push]")]) == pushed
    if pushed:
        assert (recorded.folder / "password").read_text() == "hush"
        assert not [call for call in recorded.calls if "[--password]" in call]


def _gitlab(job: str) -> str:
    told = yaml.safe_load((CI / "gitlab-ci.yml").read_text())[job]
    return "\n".join([*told.get("before_script", []), *told["script"]])


@needs_jq
@pytest.mark.parametrize("code", [0, 1, 3])
def test_gitlab_candidate_ends_as_the_gate_does(recorded, code):
    """The merge request gets the report either way, and the job the gate's code."""
    recorded.answer("hotgate gate", "roc_auc  0.99\n", code)
    merge_request = {"CI_MERGE_REQUEST_IID": "5", "GITLAB_COMMENT_TOKEN": "token", "CI_PROJECT_ID": "9"}

    done = recorded.run(_gitlab("candidate"), {**merge_request, "CI_API_V4_URL": "http://gitlab.example/api/v4"})

    assert done.returncode == code, done.stderr
    assert recorded.calls[-1].endswith("[http://gitlab.example/api/v4/projects/9/merge_requests/5/notes]")
    assert "roc_auc  0.99" in (recorded.work / "comment.json").read_text()


@needs_jq
def test_gitlab_promotes_the_candidate_it_was_handed(recorded):
    """The promoting job reads what the candidate's job left."""
    (recorded.work / "candidate.json").write_text(CANDIDATE)

    done = recorded.run(_gitlab("promote"), {"GITLAB_USER_LOGIN": "ada", "CI_COMMIT_SHA": "c0ffee"})

    assert done.returncode == 0, done.stderr
    assert recorded.calls[-1] == "hotgate [promote] [cancer-classifier] [7] [--who] [ada] [--reason] [commit c0ffee]"
