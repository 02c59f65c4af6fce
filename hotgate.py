"""The edge of every hotgate process: its command line, where its state lives and how its settings are read."""

from __future__ import annotations

import importlib
import os
import re
import tomllib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyGroup", "SettingsError", "home", "load_settings", "main", "user"]

S = TypeVar("S", bound=msgspec.Struct)

# command -> (module, attribute); a module is imported only when its command is run or asked for its help.
COMMANDS = {
    "bench": ("benchmarks.cli", "bench"),
    "best": ("training.best_cli", "best"),
    "convert": ("training.cli", "convert"),
    "demo": ("deploy.cli", "demo"),
    "drift": ("gateway.cli", "drift"),
    "evaluate": ("training.stages_cli", "evaluate"),
    "export": ("gateway.cli", "export"),
    "gate": ("deploy.gate_cli", "gate"),
    "history": ("deploy.cli", "history"),
    "pipeline": ("training.stages_cli", "pipeline"),
    "prepare": ("training.stages_cli", "prepare"),
    "promote": ("deploy.cli", "promote"),
    "register": ("training.cli", "register"),
    "release": ("gateway.cli", "release"),
    "retrain": ("deploy.retrain_cli", "retrain"),
    "rollback": ("deploy.cli", "rollback"),
    "serve": ("gateway.cli", "serve"),
    "silence": ("gateway.cli", "silence"),
    "sync": ("gateway.cli", "sync"),
    "train": ("training.cli", "train"),
    "unpublish": ("gateway.cli", "unpublish"),
    "verify": ("converters.cli", "verify"),
    "watch": ("deploy.retrain_cli", "watch"),
}


class SettingsError(click.ClickException):
    """A setting has an impossible value; the message names key, bound and the value given."""

    exit_code = 2


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder under which all state lives: `HOTGATE_HOME`, else `.hotgate` in the current directory; absolute."""
    return Path(environ.get("HOTGATE_HOME") or ".hotgate").absolute()


def user() -> str:
    """Who runs this process, for the records; its number where the system knows no name, as in many containers."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def load_settings(section: str, kind: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Read one section of `hotgate.toml` (or of the file `HOTGATE_CONFIG`), overridden by `HOTGATE_<SECTION>_<KEY>`.

    Raises:
        SettingsError: a key is unknown, or a value has the wrong type or lies outside its range.
    """
    path = Path(environ.get("HOTGATE_CONFIG") or "hotgate.toml")
    values = _section(path, section, required=bool(environ.get("HOTGATE_CONFIG")))
    keys = kind.__struct_fields__
    unknown = sorted(set(values) - set(keys))
    if unknown:
        raise SettingsError(f"{path}: [{section}] has no key {unknown[0]!r}; it has {', '.join(keys)}")
    # Variables that name no key are left alone: Kubernetes sets HOTGATE_GATEWAY_SERVICE_HOST and the like by itself.
    for key in keys:
        text = environ.get(f"HOTGATE_{section}_{key}".upper())
        if text is not None:
            values[key] = _from_text(text)
    try:
        return msgspec.convert(values, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"[{section}] {error}{_allowed(str(error), kind)}{_given(str(error), values)}") from error


def _section(path: Path, section: str, *, required: bool) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise SettingsError(f"HOTGATE_CONFIG names {path}, which is no file")
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8")).get(section, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: {section} must be a section, [{section}], not {values!r}")
    return dict(values)


def _allowed(message: str, kind: type[msgspec.Struct]) -> str:
    """The keys that a table inside the section has, where a message of msgspec's is about one that it has not."""
    found = re.search(r"unknown field .* - at `\$\.(\w+)", message)
    if found is None:
        return ""
    hint = typing.get_type_hints(kind)[found[1]]
    keys = next(part.__struct_fields__ for part in (hint, *typing.get_args(hint)) if hasattr(part, "__struct_fields__"))
    return f", it has {', '.join(keys)}"


def _given(message: str, values: Mapping[str, Any]) -> str:
    """The value that a message of msgspec's is about, which it leaves out; a secret's stays out."""
    found = re.search(r"`\$\.(\w+)", message)
    if found is None or ", not " in message or re.search("secret|token|password|key", found[1]):
        return ""
    return f", not {values[found[1]]!r}" if found[1] in values else ""


def _from_text(text: str) -> Any:
    """A list or table is written as JSON; anything else stays text, which the field's type then converts."""
    if text[:1] in "[{":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


class LazyGroup(click.Group):
    """Commands whose modules are imported only when one of them is run or asked for its help."""

    def __init__(
        self, *args: Any, modules: Mapping[str, tuple[str, str]], summaries: Mapping[str, str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._modules = modules
        self._summaries = summaries

    def list_commands(self, _context: click.Context) -> list[str]:
        """Their names, sorted."""
        return sorted(self._modules)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import one."""
        if name not in self._modules:
            return None
        module, attribute = self._modules[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._summaries.items()))


# One line each, so that `hotgate --help` imports nothing; a test compares them with the commands' own help.
SUMMARIES = {
    "bench": "Measure the gateway on this machine.",
    "best": "Find the best run of an experiment, and register its model.",
    "convert": "Convert a registered or saved scikit-learn model to a model file.",
    "demo": "Train, register, promote and serve the example model.",
    "drift": "Show whether a model's data has drifted, how good it is by its labels, its alerts and its versions.",
    "evaluate": "Judge a trained estimator by the held-out rows, as a stage of the pipeline.",
    "export": "Write logged rows, and what came true, as training data.",
    "gate": "Judge whether a version may take the champion's place.",
    "history": "Show who put which version where, when and why.",
    "pipeline": "Run the DVC pipeline and register its model file.",
    "prepare": "Validate the data and hold a part of it out, as a stage of the pipeline.",
    "promote": "Move a model version into a stage.",
    "register": "Register a model file as a new version.",
    "release": "Lift the quarantine of a model version.",
    "retrain": "Answer an alert with a better version, if there is one.",
    "rollback": "Put the version back that served before.",
    "serve": "Serve the models of the registry, or model files, over HTTP.",
    "silence": "Have nobody told of alerts of the model NAME for a while.",
    "sync": "Keep the model store in step with the registry.",
    "train": "Train, compare and log candidates; convert the best one.",
    "unpublish": "Take a model out of the store.",
    "verify": "Check a model file as the gateway would.",
    "watch": "Follow the gateway's alerts, and answer each as retrain does.",
}


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    summaries=SUMMARIES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="hotgate")
def main() -> None:
    """From the MLflow registry to p99-bounded HTTP: hot-swapped models that know when the data drifts."""


if __name__ == "__main__":
    main()
