"""What every part of the daemon works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.daemon.log import Logger
    from geodrop.daemon.metrics import Metrics
    from geodrop.daemon.notify import Notifier
    from geodrop.daemon.tasks import Tasks
    from geodrop.daemon.worker import Worker


@dataclass(frozen=True, slots=True)
class Parts:
    """`engine` is the one thread that reads and changes the kernel and the state directory; `compiler` waits for
    the compile child, so that meanwhile the engine can be asked.
    """

    config_path: str | None
    engine: Worker
    compiler: Worker
    notifier: Notifier
    log: Logger
    metrics: Metrics
    tasks: Tasks
