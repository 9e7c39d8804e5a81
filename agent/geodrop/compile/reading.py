# SPDX-License-Identifier: Apache-2.0
"""Read a policy in the compile child, and the list files that it names, which the process that asked opens."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.compile.channel import receive, send
from geodrop.errors import ConfigError, DataError, GeodropError, ListError, PrivilegeError
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Input
from geodrop.text import harmless

if TYPE_CHECKING:
    import socket

    from geodrop.policy.model import Policy

MAX_POLICY = 4 << 20
MAX_LIST = 64 << 20
"""Most bytes of a policy, and of a list file."""


def read_policy(descriptor: int, name: str, channel: socket.socket) -> tuple[Policy, list[Input]]:
    """Read a policy and its lists; return them with the identities of the files. Prints warnings.

    `channel` leads to the process that opens list files. Raises GeodropError.
    """
    text = _read(descriptor, MAX_POLICY, name, ConfigError)
    read = [Input("policy", harmless(os.path.basename(name)), hashlib.sha256(text).hexdigest())]

    denied: list[GeodropError] = []
    ages: dict[str, float] = {}

    def read_list(file: str) -> bytes:
        try:
            data, ages[file] = _ask_for_list(channel, file)
        except PrivilegeError as failure:
            denied.append(failure)
            raise DataError(failure.message, failure.next_step) from failure
        read.append(Input("list", harmless(file), hashlib.sha256(data).hexdigest()))
        return data

    try:
        policy, warnings = load_policy(text, name, read_list, ages)
    except ListError as failure:
        if denied:
            raise PrivilegeError(failure.message, printed=failure.printed) from failure
        raise
    for problem in warnings:
        messages.say(str(problem), sys.stderr)
    counts = {harmless(entry.file): len(entry.prefixes) for entry in policy.lists.values() if entry.file}
    return policy, [replace(one, prefixes=counts.get(one.name)) if one.kind == "list" else one for one in read]


def _ask_for_list(channel: socket.socket, file: str) -> tuple[bytes, float]:
    """Return the content of a list file, and the seconds since it was modified."""
    send(channel, {"list": file})
    received = receive(channel, 1)
    if received is None:
        os._exit(0)  # The process that asked has gone.
    answer, descriptors = received
    if not descriptors and answer.get("denied"):
        raise PrivilegeError(f"{file}: {answer['refused']}", "see which right is missing: namei -l, on its whole path")
    if not descriptors:
        raise DataError(f"{file}: {answer['refused']}", "name a list file inside the policy's folder")
    try:
        age = time.time() - os.fstat(descriptors[0]).st_mtime
        return _read(descriptors[0], MAX_LIST, file, DataError), age
    finally:
        os.close(descriptors[0])


def _read(descriptor: int, limit: int, name: str, error: type[GeodropError]) -> bytes:
    try:
        with open(descriptor, "rb", closefd=False) as file:
            # read() returns None for an empty pipe, which is opened non-blocking.
            data = file.read(limit + 1) or b""
    except OSError as failure:
        raise error(f"{name}: {failure.strerror}", "name a file that can be read") from failure
    if len(data) > limit:
        raise error(f"{name}: larger than {limit >> 20} MB", "make it smaller")
    return data
