"""`python -m deploy.demo_prepare`: the demo's training, in a process that ends when it is done."""

from __future__ import annotations

import sys
import time

from deploy.demo import prepare
from hotgate import home

__all__: list[str] = []


def main() -> int:
    """Prepare the demo, with progress on standard output."""
    started = time.monotonic()

    def progress(done: int, steps: int, text: str) -> None:
        print(f"[{done}/{steps}] {text}", flush=True)

    state = prepare(home(), progress)
    print(
        f"trained and registered in {time.monotonic() - started:.0f} s:"
        f" version {state.champion} is in Production, version {state.other} waits",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
