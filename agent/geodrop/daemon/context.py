"""What every part of the daemon works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.daemon.worker import Worker

if TYPE_CHECKING:
    from geodrop.daemon.log import Logger
    from geodrop.daemon.metrics import Metrics
    from geodrop.daemon.notify import Notifier
    from geodrop.daemon.tasks import Tasks


@dataclass(frozen=True, slots=True)
class DaemonContext:
    """`engine` is the one thread that changes the kernel and the state directory, and reads what decides on a change.

    `compiler` waits for the compile child. `reader` reads for whoever asks, so that nobody waits for a change, and
    `long_reader` reads what takes long.
    """

    config_path: str | None
    notifier: Notifier
    log: Logger
    metrics: Metrics
    tasks: Tasks
    engine: Worker = field(default_factory=lambda: Worker("engine"))
    compiler: Worker = field(default_factory=lambda: Worker("compiler"))
    reader: Worker = field(default_factory=lambda: Worker("reader"))
    long_reader: Worker = field(default_factory=lambda: Worker("long_reader"))
