"""The compile child: drops every privilege before it reads a byte, then does one task and exits.

Started by `sandbox.run` as `python -m geodrop.compile.child FD`, FD being its end of a socket pair: one request comes
in, names of list files go out and descriptors come back. Everything is imported first, since afterwards nothing in a
folder that only root can enter can be read.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop import messages
from geodrop.compile.build import build, identity
from geodrop.compile.explain import explain_with_databases
from geodrop.compile.sandbox import FOUND, MAX_NAME
from geodrop.errors import EXIT_BUG, ConfigError, DataError, GeodropError
from geodrop.geo.database import Database
from geodrop.geo.world import RegionMap, regions
from geodrop.policy.parse import load_policy
from geodrop.ruleset.explain import SCHEMA, parse_address
from geodrop.ruleset.model import Input, Ruleset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from geodrop.policy.model import Policy

NOBODY = 65534
PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
LIMITS = {
    resource.RLIMIT_AS: 6 << 30,
    resource.RLIMIT_CPU: 300,
    resource.RLIMIT_FSIZE: 1 << 30,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}
MAX_REQUEST = 1 << 20
MAX_POLICY = 4 << 20
MAX_LIST = 64 << 20


class Inputs(NamedTuple):
    """What a task works on; `read` records every file the policy was made of."""

    policy: Policy
    databases: list[Database]
    read: list[Input]


def main() -> int:
    """Do the one task asked for; returns the exit code of the verb."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    drop_privileges()
    request = json.loads(channel.recv(MAX_REQUEST))
    try:
        return TASKS[request["task"]](request, channel)
    except GeodropError as failure:
        messages.error(failure)
        return failure.exit_code
    except MemoryError:
        messages.error(DataError("the inputs need more memory than the compile process may use", "use smaller ones"))
        return DataError.exit_code
    except Exception:  # noqa: BLE001 - a bug; the contract wants its traceback and this exit code
        traceback.print_exc()
        return EXIT_BUG


def drop_privileges() -> None:
    """Become nobody, for good, under resource limits."""
    for limit, value in LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bound, bound))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def check(request: Mapping[str, Any], channel: socket.socket) -> int:
    """Validate the policy; the databases are not asked for."""
    inputs = read_inputs(request, channel)
    policy = inputs.policy
    names = [service.name for service in policy.services]
    lines = sum(len(service.allow) + len(service.deny) for service in policy.services)
    if request["options"]["json"]:
        files = [item.name for item in inputs.read]
        print(json.dumps({"schema": SCHEMA, "policy": policy.file, "services": names, "lines": lines, "files": files}))
    else:
        services = f"service{'s' if len(names) > 1 else ''} {', '.join(names)}"
        print(f"{policy.file}: good, {lines} line{'' if lines == 1 else 's'} for {services}")
    return 0


def compile_(request: Mapping[str, Any], channel: socket.socket) -> int:
    """Write the ruleset to the descriptor given."""
    inputs = read_inputs(request, channel)
    data, _ = _ruleset(inputs, xdp=request["options"].get("xdp", False))
    with open(request["output"], "wb", closefd=False) as output:
        output.write(data)
    return 0


def explain(request: Mapping[str, Any], channel: socket.socket) -> int:
    """Explain the addresses given, or those on standard input, one a line."""
    inputs = read_inputs(request, channel)
    data, region_map = _ruleset(inputs)
    ruleset = Ruleset.unpack(data, inputs.policy.file)
    options = request["options"]
    now = options["at"] if options["at"] is not None else time.time()
    code = 0
    for text in options["addresses"] or _lines(sys.stdin):
        try:
            address = parse_address(text)
        except DataError as failure:
            code = failure.exit_code
            _print_bad(text, failure, as_json=options["json"])
            continue
        for explanation, record in explain_with_databases(ruleset, region_map, address, now):
            if options["json"]:
                print(json.dumps({**explanation.as_json(), "record": record}))
            else:
                print(explanation.as_text() + (f"\n    database record: {record}" if record else ""))
    return code


TASKS: dict[str, Callable[[Mapping[str, Any], socket.socket], int]] = {
    "check": check,
    "compile": compile_,
    "explain": explain,
}


def read_inputs(request: Mapping[str, Any], channel: socket.socket) -> Inputs:
    """Read policy, lists and databases; prints warnings, raises GeodropError."""
    name = request["policy"]["name"]
    text = _read(request["policy"]["fd"], MAX_POLICY, name, ConfigError)
    read = [Input("policy", os.path.basename(name), hashlib.sha256(text).hexdigest())]

    def read_list(file: str) -> bytes:
        data = _ask_for_list(channel, file)
        read.append(Input("list", file, hashlib.sha256(data).hexdigest()))
        return data

    policy, warnings = load_policy(text, name, read_list)
    for problem in warnings:
        print(problem, file=sys.stderr)
    databases = []
    for given in request["databases"]:
        database = Database.open(given["fd"], given["name"])
        for warning in database.warnings:
            messages.warning(f"{given['name']}: {warning}")
        databases.append(database)
    return Inputs(policy, databases, read)


def _ruleset(inputs: Inputs, *, xdp: bool = False) -> tuple[bytes, RegionMap]:
    region_map = regions(inputs.databases, inputs.policy.corrections)
    for warning in region_map.warnings:
        messages.warning(warning)
    sources = [*inputs.read, *map(identity, inputs.databases)]
    return build(inputs.policy, region_map, sources, xdp=xdp), region_map


def _ask_for_list(channel: socket.socket, file: str) -> bytes:
    channel.sendall(file.encode())
    answer, descriptors, _, _ = socket.recv_fds(channel, MAX_NAME, 1)
    if answer != FOUND or not descriptors:
        raise DataError(f"{file}: {answer.decode(errors='replace')}", "name a list file inside the policy's folder")
    try:
        return _read(descriptors[0], MAX_LIST, file, DataError)
    finally:
        os.close(descriptors[0])


def _read(descriptor: int, limit: int, name: str, error: type[GeodropError]) -> bytes:
    try:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as failure:
        raise error(f"{name}: {failure.strerror}", "name a file that can be read") from failure
    if len(data) > limit:
        raise error(f"{name}: larger than {limit >> 20} MB", "make it smaller")
    return data


def _lines(stream: Iterable[str]) -> Iterable[str]:
    return (text for line in stream if (text := line.strip()))


def _print_bad(text: str, failure: DataError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"schema": SCHEMA, "address": text, "error": failure.message}))
    else:
        messages.error(failure)


if __name__ == "__main__":
    sys.exit(main())
