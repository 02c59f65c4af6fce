"""`python -m gateway.sync [--parent PID]`: the sidecar alone, with this directory's settings and home."""

from __future__ import annotations

import argparse
import sys

import hotgate
from gateway.sync.process import run_sidecar
from gateway.sync.settings import SyncSettings


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.sync", description="Keep the model store in step.")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process is gone")
    options = parser.parse_args(arguments)
    try:
        settings = hotgate.load_settings("sync", SyncSettings)
    except hotgate.SettingsError as error:
        sys.stderr.write(f"error: {error.format_message()}\n")
        return error.exit_code
    return run_sidecar(settings, hotgate.home(), parent=options.parent)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
