# SPDX-License-Identifier: Apache-2.0
"""Explain a refused program: show the end of the verifier's log, and say where the whole log is kept."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, GeodropError, PrivilegeError, UnavailableError
from geodrop.state import files
from geodrop.state.places import refusal_log

if TYPE_CHECKING:
    from collections.abc import Sequence

LINES = 12
"""Lines from the log's end: the refused instruction with the reason, before libbpf's summary."""


def refused(error: OSError, log: Sequence[str]) -> GeodropError:
    """Return the error for a program that did not load; `log` is all that libbpf and the verifier printed.

    A program that the verifier refuses cannot be had on this kernel: UnavailableError, so that `auto` takes nftables.
    """
    if error.errno == errno.EPERM:
        return PrivilegeError("the kernel does not let us load the XDP program", "run as root, or with CAP_BPF")
    if error.errno == errno.ENOMEM:
        return ApplyError(
            f"the kernel refused ({error.strerror}): no memory for the XDP program and its maps",
            "free some, or use --engine nftables",
        )
    lines = [line for text in log for line in text.splitlines() if line.strip()]
    end = "\n".join([*lines[-LINES:], _kept(lines)])
    return UnavailableError(
        f"the kernel refused the XDP program ({error.strerror})\nwhat was in force before still is\n{end}",
        "use --engine nftables, and report this with the log",
    )


def _kept(lines: Sequence[str]) -> str:
    """Keep the whole log for a report, and say where."""
    path = refusal_log()
    try:
        files.replace(path, lambda file: file.write("\n".join([*lines, ""]).encode()))
    except GeodropError as error:
        return f"the whole log could not be kept: {error.message}"
    return f"the whole log: {path}"
