"""Loaded by every Python process of a test that puts this folder on PYTHONPATH: tells what it unpickles and imports.

Each process appends to `$HOTGATE_PROBE/<pid>.audit` what must not happen, and on SIGUSR2 writes its modules to
`<pid>.modules`.
"""

import gc
import os
import signal
import sys
from pathlib import Path

FOLDER = Path(os.environ["HOTGATE_PROBE"])
FORBIDDEN_FILES = (".pkl", ".pickle", ".joblib", ".skops", "MLmodel")


def _hook(event, arguments):
    if event == "pickle.find_class":
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("multiprocessing"):
                return
            frame = frame.f_back
        _tell(f"find_class {arguments}")
    elif event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(FORBIDDEN_FILES):
        _tell(f"open {arguments[0]}")


def _tell(text):
    with (FOLDER / f"{os.getpid()}.audit").open("a") as file:
        file.write(f"{sys.argv}: {text}\n")


def _dump(*_):
    path = FOLDER / f"{os.getpid()}.tmp"
    state = [f"gc-frozen-{gc.get_freeze_count() > 10_000}", f"gc-{gc.isenabled()}"]
    path.write_text("\n".join([*sorted(sys.modules), *state]))
    path.rename(FOLDER / f"{os.getpid()}.modules")


sys.addaudithook(_hook)
signal.signal(signal.SIGUSR2, _dump)
