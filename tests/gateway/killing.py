"""For scripts that fork a child and kill it at one step after the other, by `sys.settrace(kill_at(step, …))`."""

from __future__ import annotations

import os
import signal


def kill_at(step, *files, functions=None):
    """A trace function that kills this process at the n-th line.

    Only lines of files whose path has one of `files` in it count, and of `functions`, if they are named.
    """
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        code = frame.f_code
        if not any(name in code.co_filename for name in files) or (functions and code.co_name not in functions):
            return None
        if event == "line":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
