"""What a long measurement says while it runs, and how it is left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Progress"]


class Progress:
    """Shows each step with its time, and unwinds on SIGTERM, which ends the servers, as Ctrl-C does.

    An exception that a signal raises is lost where foreign code swallows it (a finalizer, a callback from C), so the
    next step asks once more.
    """

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._told_to_leave = 0

    def say(self, text: str) -> None:
        """Begin a step."""
        if self._told_to_leave:
            sys.exit(128 + self._told_to_leave)
        click.echo(f"{time.monotonic() - self._begin:5.0f} s  {text}", err=True)

    def leave(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self._told_to_leave = number
        sys.exit(128 + number)
