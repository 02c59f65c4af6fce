"""Following the gateway's alerts: what fires is answered, now or once the brakes let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.retraining.alert import AlertError, alert_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.retraining.retrainer import Result, Retrainer
    from gateway.alerts import Alert

__all__ = ["firing", "follow", "look"]


def firing(path: Path) -> list[Alert]:
    """Breaches that have begun and not ended, in the order in which they were first told.

    Read wholly each time: so nothing need be remembered of what was read, over restarts and when the file is changed.

    Args:
        path: `monitor/alerts.jsonl`; with it is read the file that it became before.

    Raises:
        OSError: it cannot be read.
    """
    # The newer one first: if it becomes the older one in between, it is read twice, and not missed.
    newer = _lines(path)
    older = _lines(path.with_name(f"{path.name}.1"))
    latest: dict[str, Alert] = {}
    for line in older + newer:
        try:
            alert = alert_of(line)
        except AlertError:  # the last line of one that is being written
            continue
        latest[alert.id] = alert
    return [alert for alert in latest.values() if alert.state == "firing"]


def look(path: Path, retrainer: Retrainer, tell: Callable[[Result], None], told: dict[str, str]) -> dict[str, str]:
    """Answer what fires, and tell what is new about it.

    Args:
        path: as `firing`.
        retrainer: decides.
        tell: is given what was decided.
        told: what this returned the last time: by breach, the decision.

    Raises:
        OSError: the alerts cannot be read.
        StateError: what was tried before cannot be read or kept.
    """
    now: dict[str, str] = {}
    for alert in firing(path):
        result = retrainer.handle(alert)
        now[alert.id] = result.brake or result.outcome
        answered = result.brake == "breach" and alert.id in told
        if told.get(alert.id) != now[alert.id] and not answered:
            tell(result)
    return now


def follow(
    path: Path,
    retrainer: Retrainer,
    tell: Callable[[Result], None],
    complain: Callable[[str], None],
    wait: Callable[[], bool],
) -> None:
    """Look again and again, until `wait` says so; first what a killed process left is finished.

    Raises:
        StateError: what was tried before cannot be read or kept.
    """
    told: dict[str, str] = {}
    left = retrainer.finish()
    if left is not None:
        tell(left)
        told[left.breach] = left.outcome
    trouble = ""
    while True:
        try:
            told, trouble = look(path, retrainer, tell, told), ""
        except OSError as error:
            if trouble != str(error):
                complain(f"the alerts cannot be read: {error}")
            trouble = str(error)
        if wait():
            return


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
