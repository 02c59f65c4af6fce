"""`python -m gateway.observe [--parent PID]`: the observer of this directory's home."""

from __future__ import annotations

import argparse
import sys

import hotgate
from gateway.observe.process import run_observer
from gateway.observe.settings import MonitorSettings


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.observe", description="Keep what workers have counted.")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process is gone")
    options = parser.parse_args(arguments)
    try:
        settings = hotgate.load_settings("monitor", MonitorSettings)
    except hotgate.SettingsError as error:
        sys.stderr.write(f"error: {error.format_message()}\n")
        return error.exit_code
    return run_observer(hotgate.home() / "monitor", settings, parent=options.parent)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
