# SPDX-License-Identifier: Apache-2.0
"""What the tasks of the daemon share: the configuration in force, worker threads, log, metrics, notifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.daemon.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.compile.sandbox import Identity
    from geodrop.config import Config
    from geodrop.daemon.log import Logger
    from geodrop.daemon.metrics import Metrics
    from geodrop.daemon.notify import Notifier
    from geodrop.daemon.tasks import Tasks


@dataclass(slots=True)
class DaemonContext:
    """`config` is the agent.yaml in force; only a reload replaces it, on the kernel worker, together with the ruleset.

    `kernel_worker` is the one thread that changes the kernel and the state directory, and reads what decides on a
    change. `compiler` waits for the compile child. `reader` answers short reads, so that no reader waits for a change;
    `long_reader` answers long ones. While agent.yaml could not be read since the start, `doubt` says what was assumed
    instead. With `watch: true`, `files_read` are the files of the last reload as they were when it began; empty if
    there was none. `missing` has a line for each file without which changes wait.
    """

    config: Config
    config_path: str | None
    notifier: Notifier
    log: Logger
    metrics: Metrics
    tasks: Tasks
    doubt: str = ""
    files_read: Mapping[str, Identity | None] = field(default_factory=dict)
    missing: Sequence[str] = ()
    kernel_worker: Worker = field(default_factory=lambda: Worker("kernel"))
    compiler: Worker = field(default_factory=lambda: Worker("compiler"))
    reader: Worker = field(default_factory=lambda: Worker("reader"))
    long_reader: Worker = field(default_factory=lambda: Worker("long_reader"))
