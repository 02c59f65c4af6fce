"""granian's private parts that the direct lane leans on: all of them, and nothing else does.

- Every request is a call of a function made by `granian._futures._cbsched_aioschedule`, on granian's one Python thread,
  with a `watcher` that holds the request's scope and protocol. Ours takes the request or passes it on to that function.
- A body is a future whose completion comes, on the same thread, through the event loop's `call_soon_threadsafe`, looked
  up by name on the loop. Ours recognises the lane's own callbacks and calls them at once.

Neither may raise: granian ignores what is raised there, and the client would wait for ever.
"""

from __future__ import annotations

# ruff: noqa: SLF001 - private names are what this module is about
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HookError", "check", "hook_loop", "hook_requests"]

_log = logging.getLogger("hotgate.direct")

GRANIAN = ("2.8.7",)
"""Versions that this module was written for."""


class HookError(Exception):
    """granian is not as it is known here; the text says in what."""


def hook_requests(take: Callable[[Any], bool]) -> None:
    """Offer every request of this process's server, as a watcher, to `take` first; it says whether it took it."""
    futures = _futures()
    build = futures._cbsched_aioschedule

    def build_hooked(*args: Any) -> Callable[[Any], None]:
        pass_on = build(*args)

        def schedule(watcher: Any) -> None:
            try:
                if take(watcher):
                    return
            except Exception:  # noqa: BLE001 - nothing may be raised here
                _log.exception("the direct lane failed on a request, which takes the event loop instead")
            pass_on(watcher)

        return schedule

    futures._cbsched_aioschedule = build_hooked


def hook_loop(loop: Any, own: frozenset[type[Any]]) -> Callable[..., Any]:
    """Call callbacks of these classes at once, on the thread that would have woken the loop for them.

    Returns:
        The loop's `call_soon_threadsafe` as it was.
    """
    original: Callable[..., Any] = loop.call_soon_threadsafe

    def call_soon_threadsafe(callback: Any, *args: Any, context: Any = None) -> Any:
        if callback.__class__ in own:
            return callback(*args)
        return original(callback, *args, context=context)

    loop.call_soon_threadsafe = call_soon_threadsafe
    return original


def check() -> None:
    """Try the hooks out on a scheduler and a loop made up for it.

    Raises:
        HookError: this granian is of another version, or does not do what the hooks need.
    """
    import granian

    if granian.__version__ not in GRANIAN:
        raise HookError(f"granian {granian.__version__} is not {' or '.join(GRANIAN)}")
    try:
        missing = _missing()
    except Exception as error:
        raise HookError(f"granian {granian.__version__} is not as expected: {error!r}") from error
    if missing:
        raise HookError(f"granian {granian.__version__} does not do what the direct lane needs: {missing}")


def _missing() -> str | None:
    """What the hooks need and is not there."""
    from granian._granian import RSGIHTTPProtocol

    # By name: what it returns when it is called is a body.
    for name in ("__aiter__", "__anext__", "response_bytes", "response_empty"):
        if not hasattr(RSGIHTTPProtocol, name):
            return f"RSGIHTTPProtocol.{name}"
    futures = _futures()
    before = futures._cbsched_aioschedule
    offered: list[Any] = []
    passed_on: list[Any] = []
    built: list[Callable[[Any], None]] = []

    def build(*args: Any) -> Callable[[Any], None]:
        built.append(before(*args))
        return built[-1]

    def take(watcher: Any) -> bool:
        offered.append(watcher)
        return bool(watcher == "taken")

    def call_soon_threadsafe(_callback: Any, *args: Any, **_context: Any) -> None:
        passed_on.append(args)

    futures._cbsched_aioschedule = build
    try:
        hook_requests(take)
        hooked = futures._cbsched_aioschedule
        loop = SimpleNamespace(call_soon=None, call_soon_threadsafe=call_soon_threadsafe)
        futures._new_cbscheduler(loop, lambda watcher: watcher, impl_asyncio=True)
        schedule = hooked(loop, None, lambda watcher: watcher)
    finally:
        futures._cbsched_aioschedule = before
    if len(built) != 2:
        return "its scheduler is not built by _cbsched_aioschedule"
    schedule("taken")
    schedule("other")
    if offered != ["taken", "other"] or passed_on != [("other", "other")]:
        return f"requests were offered as {offered} and passed on as {passed_on}"
    return None


def _futures() -> Any:
    from granian import _futures

    return _futures
