# SPDX-License-Identifier: Apache-2.0
"""For bad input and bad hosts: a clear message, the right exit code, and an unchanged kernel.

Every case runs the real command line, beside a policy in force and another program's table; `nft list ruleset` with
handles must print the same bytes before and after.
"""

from __future__ import annotations

import gzip
import random
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from geodrop.state.lock import exclusive
from tests.support.cli import Done, Geodrop
from tests.support.databases import country, write_database
from tests.support.namespaces import namespaces, require
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.namespaces import Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]

WORLD = {"1.0.0.0/8": country("CN"), "2.0.0.0/8": country("US"), "2400::/16": country("CN"), "2600::/16": country("US")}
HEAD_LINES = "version: 1\nservices:\n"
OTHER_POLICY = POLICY_CN.replace("[CN]", "[US]")
FOREIGN = """
table inet foreign {
  set s { type ipv4_addr; elements = { 192.0.2.1 } }
  chain c { counter; }
}
"""


class Host:
    """A namespace with a policy in force and another program's table, and what its kernel held then."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.geodrop = Geodrop(folder, namespace)
        self.database = write_database(folder / "world.mmdb", WORLD)
        self.ruleset = self.geodrop.compile(POLICY_CN, self.database, name="good")
        self.other = self.geodrop.compile(OTHER_POLICY, self.database, name="other")
        namespace.nft(FOREIGN)
        self.geodrop.good("load", str(self.ruleset), "--interface", "eth0")
        self.before = self.kernel()

    def kernel(self) -> str:
        """Return everything that nf_tables holds."""
        return self.namespace.run("nft", "--handle", "list", "ruleset")

    def refuses(self, code: int, *arguments: str, before: tuple[str, ...] = ()) -> Done:
        """Run a command line that must fail with this exit code and a message, and must not change the kernel."""
        done = Geodrop(self.folder, self.namespace, before).run(*arguments)
        shown = f"geodrop {' '.join(arguments)}: exit {done.code}\n{done.out}{done.err}"
        assert done.code == code, shown
        assert "Traceback" not in done.err, shown
        assert len(done.err.strip()) > 20, "no message"
        assert self.kernel() == self.before
        return done

    def arguments(self, verb: str) -> list[str]:
        """Return the arguments a verb needs: `load` takes a ruleset that is not in force yet."""
        return [str(self.other), "--interface", "eth0"] if verb == "load" else []

    def compile(self, code: int, policy: str | bytes, *databases: Path) -> Done:
        """Compile input that must be refused."""
        source, output = self.folder / "bad.yaml", self.folder / "bad.ruleset"
        source.write_bytes(policy if isinstance(policy, bytes) else policy.encode())
        options = [item for database in databases for item in ("--database", str(database))]
        done = self.refuses(code, "compile", "--policy", str(source), *options, "-o", str(output))
        assert not output.exists(), "a refused compile left a file"
        return done


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a policy in force, shared by all tests, since no refused input may change it."""
    require()
    with namespaces("host") as [namespace]:
        yield Host(namespace, tmp_path_factory.mktemp("host"))


# --- databases ---


def asn_database(good: bytes, path: Path) -> None:
    """Write a database that holds no places."""
    del good
    write_database(path, {"1.0.0.0/8": {"autonomous_system_number": 64496}}, database_type="GeoLite2-ASN")


def ipv4_database(good: bytes, path: Path) -> None:
    """Write a database without IPv6."""
    del good
    write_database(path, {"1.0.0.0/8": country("CN")}, ip_version=4)


DAMAGES: dict[str, Callable[[bytes, Path], object]] = {
    "empty": lambda _, path: path.write_bytes(b""),
    "zeroed": lambda good, path: path.write_bytes(bytes(len(good))),
    "first half": lambda good, path: path.write_bytes(good[: len(good) // 2]),
    "without its end": lambda good, path: path.write_bytes(good[:-1]),
    "without its beginning": lambda good, path: path.write_bytes(good[len(good) // 2 :]),
    "metadata only": lambda good, path: path.write_bytes(good[good.rindex(b"\xab\xcd\xefMaxMind.com") :]),
    "tree zeroed": lambda good, path: path.write_bytes(bytes(512) + good[512:]),
    "text": lambda _, path: path.write_text("1.0.0.0/8,CN\n" * 1000),
    "compressed": lambda good, path: path.write_bytes(gzip.compress(good)),
    "a folder": lambda _, path: path.mkdir(),
    "of networks": asn_database,
    "IPv4 only": ipv4_database,
    "missing": lambda *_: None,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_databases(host: Host, tmp_path: Path, kind: str) -> None:
    """A database that is damaged, of another type, or without IPv6 is named and refused."""
    path = tmp_path / "damaged.mmdb"
    DAMAGES[kind](host.database.read_bytes(), path)
    assert "damaged.mmdb" in host.compile(65, POLICY_CN, path).err


def test_flipped_bits(host: Host) -> None:
    """One flipped bit is either refused or tolerated; it never causes a traceback, and never reaches the kernel."""
    good, chance = host.database.read_bytes(), random.Random(1)
    path, source, output = host.folder / "flipped.mmdb", host.folder / "good.yaml", host.folder / "flipped.ruleset"
    codes = []
    for _ in range(16):
        data, position = bytearray(good), chance.randrange(len(good) * 8)
        data[position // 8] ^= 1 << position % 8
        path.write_bytes(data)
        done = host.geodrop.run("compile", "--policy", str(source), "--database", str(path), "-o", str(output))
        assert done.code in {0, 65}, f"bit {position}: exit {done.code}\n{done.err}"
        assert "Traceback" not in done.err
        assert done.code == 0 or "flipped.mmdb" in done.err
        codes.append(done.code)
    assert 65 in codes, "no flip was noticed"
    assert host.kernel() == host.before


# --- policies ---

MISTAKES = """version: 2
gruops: {}
groups:
  loop: [group:pool]
  pool: [group:loop]
  lost: [group:nowhere, QQ, cn, ZZ-1, "continent:XX", 1.2.3.4/8, "list:nothing"]
lists:
  both: {prefixes: [5.0.0.0/8], file: x.txt}
  wrong: {prefixes: [5.0.0.0/33, 6.0.0.9-6.0.0.1]}
  carriers: {asn: [AS64496x]}
corrections:
  10.0.0.0/8: US
  5.0.0.0/8: QQ
services:
  first:
    match: {ports: {tcp: [443, 90-80, 70000], sctp: [1]}, protocols: [ipx]}
    default: perhaps
    allow: [US]
    deny: [US]
    mode: sometimes
    starts: 2024-07-09T00:00:00
    established: later
    action: refuse
  second:
    match: {ports: {tcp: [400-500]}, addresses: [203.0.113.1/24]}
    default: deny
    unknown: deny
  third:
    match: {ports: {tcp: [450]}}
    default: deny
    unknown: deny
never_drop: {ports: {tcp: [-1]}, prefix: []}
limits: {blast_radius: 500%, database_age: soon}
"""

EXPECTED_AT = {
    "version": 1,
    "gruops": 2,
    "holds itself": 5,
    "nowhere": 6,
    "QQ": 6,
    "cn": 6,
    "ZZ": 6,
    "XX": 6,
    "1.2.3.4/8": 6,
    "nothing": 6,
    "both": 8,
    "5.0.0.0/33": 9,
    "6.0.0.9-6.0.0.1": 9,
    "AS64496x": 10,
    "10.0.0.0/8": 12,
    "sctp": 16,
    "90-80": 16,
    "70000": 16,
    "ipx": 16,
    "perhaps": 17,
    "sometimes": 20,
    "2024-07-09T00:00:00": 21,
    "later": 22,
    "refuse": 23,
    "203.0.113.1/24": 25,
    "-1": 32,
    "prefix": 32,
    "500%": 33,
    "soon": 33,
}
"""A word that each mistake's message must contain, and the line it must name."""


def test_every_mistake_of_a_policy_is_reported_at_once(host: Host) -> None:
    """Each mistake is reported with file, line and column, what is wrong and what to write; nothing is compiled."""
    done = host.compile(78, MISTAKES, host.database)
    for word, line in EXPECTED_AT.items():
        found = [text for text in done.err.splitlines() if f"bad.yaml:{line}:" in text and word in text]
        assert found, f"nothing about {word!r} in line {line}:\n{done.err}"
        assert any("error:" in text and ";" in text for text in found), found
    assert "unknown" in done.err, "first has no `unknown`"


WRONG_TOGETHER = {
    "enforced services that overlap": (
        POLICY_CN + POLICY_CN.partition("services:\n")[2].replace("api:", "twin:"),
        "twin",
    ),
    "the same line on both sides": (POLICY_CN + "    allow: [CN]\n", "CN"),
    "a subdivision that no database carries": (POLICY_CN.replace("[CN]", "[UA-43]"), "UA-43"),
    "no services": ("version: 1\nservices: {}\n", "services"),
    "no policy at all": ("", "bad.yaml"),
    "a duplicate key": (POLICY_CN + "    default: deny\n", "default"),
    "broken YAML": ("version: 1\nservices: [\n", "bad.yaml:"),
    "a tab": ("version: 1\n\tservices: {}\n", "bad.yaml:2"),
    "not a mapping": ("- version: 1\n", "bad.yaml:1:1"),
    "two documents": (POLICY_CN + "---\n" + POLICY_CN, "bad.yaml"),
    "a Python object": ("version: 1\nservices: !!python/object/apply:os.system [id]\n", "bad.yaml:2"),
    "anchors that explode": (
        "a0: &a0 [US,US,US,US,US,US,US,US,US]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
        "bad.yaml",
    ),
    "deep nesting": ("version: " + "[" * 20_000, "bad.yaml"),
    "an alias of itself": ("version: 1\ngroups: &g {self: *g}\n", "bad.yaml"),
    "a truncated escape": ('version: "\\x4', "bad.yaml"),
    "a control character": ("version: 1\x07\n", "bad.yaml"),
    "a list file that leads out": (
        POLICY_CN.replace("[CN]", "['list:out']") + "lists: {out: {file: ../../etc/passwd}}\n",
        "../../etc/passwd",
    ),
    "a list file with a full path": (
        POLICY_CN.replace("[CN]", "['list:out']") + "lists: {out: {file: /etc/passwd}}\n",
        "/etc/passwd",
    ),
}


@pytest.mark.parametrize("kind", WRONG_TOGETHER)
def test_policies(host: Host, kind: str) -> None:
    """Mistakes of the file as a whole, or of two lines together, are reported."""
    policy, word = WRONG_TOGETHER[kind]
    assert word in host.compile(78, policy, host.database).err


def test_a_policy_that_is_not_text(host: Host) -> None:
    """UTF-16, and bytes that are no text, are refused."""
    for policy in (POLICY_CN.encode("utf-16"), random.Random(2).randbytes(4096)):
        assert "bad.yaml" in host.compile(78, policy, host.database).err


def test_list_files(host: Host) -> None:
    """A list that is missing, a link, a folder, or holds anything but prefixes is bad data."""
    policy = POLICY_CN.replace("[CN]", "['list:partners']") + "lists: {partners: {file: partners.txt}}\n"
    path = host.folder / "partners.txt"
    assert "partners.txt" in host.compile(65, policy, host.database).err
    path.symlink_to("/etc/passwd")
    assert "root:" not in host.compile(65, policy, host.database).err
    path.unlink()
    path.mkdir()
    host.compile(65, policy, host.database)
    path.rmdir()
    path.write_text("1.2.3.0/24\n\nnonsense\n2001:db8::/129\n")
    found = host.compile(65, policy, host.database).err
    assert "partners.txt:3" in found
    assert "partners.txt:4" in found


# --- ruleset files ---

HEADER = 48


def newer(data: bytes) -> bytes:
    """Write a file of the next format version, as a newer geodrop would."""
    return data[:8] + struct.pack("<I", struct.unpack("<I", data[8:12])[0] + 1) + data[12:]


RULESETS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "header cut": lambda data: data[: HEADER - 1],
    "header only": lambda data: data[:HEADER],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "a byte too many": lambda data: data + b"\0",
    "zeroed": lambda data: bytes(len(data)),
    "magic altered": lambda data: b"G" + data[1:],
    "length altered": lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:],
    "digest altered": lambda data: data[:16] + bytes(32) + data[48:],
    "content altered": lambda data: data.replace(b'"CN"', b'"US"', 1),
    "last byte altered": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "of a newer version": newer,
    "text": lambda _: b"table inet geodrop {}\n",
}


@pytest.mark.parametrize("kind", RULESETS)
def test_rulesets(host: Host, kind: str) -> None:
    """A ruleset that differs from what compile wrote is refused before anything else happens."""
    path = host.folder / "bad.ruleset"
    data = RULESETS[kind](host.other.read_bytes())
    assert data != host.other.read_bytes()
    path.write_bytes(data)
    message = host.refuses(65, "load", str(path), "--interface", "eth0").err
    assert "bad.ruleset" in message
    if kind == "of a newer version":
        assert "upgrade" in message


def test_missing_files(host: Host) -> None:
    """A policy that cannot be opened ends with 78; a database or a ruleset with 65."""
    nowhere = str(host.folder / "nowhere")
    host.refuses(65, "load", nowhere, "--interface", "eth0")
    host.refuses(65, "load", str(host.folder), "--interface", "eth0")
    host.refuses(78, "compile", "--policy", nowhere, "--database", str(host.database), "-o", nowhere)
    host.refuses(78, "check", nowhere)


# --- the host ---

VERBS = ["load", "unload", "status", "counters", "verify"]

WITHOUT = {
    "CAP_NET_ADMIN": ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"),
    "any capability": ("setpriv", "--inh-caps=-all", "--bounding-set=-all"),
}


@pytest.mark.parametrize("missing", WITHOUT)
@pytest.mark.parametrize("verb", VERBS)
def test_no_privileges(host: Host, verb: str, missing: str) -> None:
    """Without the capability, each command that uses the kernel names the missing capability."""
    assert "CAP_NET_ADMIN" in host.refuses(77, verb, *host.arguments(verb), before=WITHOUT[missing]).err


SECCOMP = r"""
import ctypes, os, platform, struct, sys
# struct seccomp_data: nr at 0, arch at 4, the low halves of the arguments at 16, 24, 32.
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
socket_call = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_NETLINK, NETLINK_NETFILTER, EPROTONOSUPPORT = 16, 12, 93
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
program = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 5, socket_call),
    (LOAD, 0, 0, 16), (EQUAL, 0, 3, AF_NETLINK),
    (LOAD, 0, 0, 32), (EQUAL, 0, 1, NETLINK_NETFILTER),
    (RETURN, 0, 0, ERRNO | EPROTONOSUPPORT), (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
loaded = Program(len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that finds no nf_tables: its sockets are refused as by a kernel without it."""


@pytest.mark.parametrize("verb", VERBS)
def test_no_nf_tables(host: Host, verb: str) -> None:
    """A kernel without nf_tables is named as such, not taken for a bug or a missing right."""
    assert "nf_tables" in host.refuses(69, verb, *host.arguments(verb), before=(sys.executable, "-c", SECCOMP)).err


@pytest.mark.parametrize(
    "table", ["table inet geodrop", 'table inet geodrop {\n comment "mine"\n chain g1 { drop; }\n}']
)
def test_a_table_of_our_name(host: Host, netns: Namespace, tmp_path: Path, table: str) -> None:
    """Another program's table with our name is neither used nor removed."""
    netns.nft(table)
    before = netns.run("nft", "--handle", "list", "ruleset")
    geodrop = Geodrop(tmp_path, netns)
    for verb in VERBS:
        done = geodrop.run(verb, *host.arguments(verb))
        assert (verb, done.code) == (verb, 69), done.err
        assert "inet geodrop" in done.err
        assert netns.run("nft", "--handle", "list", "ruleset") == before


def test_another_process_is_at_it(host: Host) -> None:
    """While one process changes the dataplane, another one is told so."""
    with host.namespace.entered(), exclusive():
        assert "pid" in host.refuses(75, "load", str(host.other), "--interface", "eth0").err
        host.refuses(75, "unload")


@pytest.mark.parametrize(
    "arguments",
    [["load"], ["frobnicate"], ["load", "x", "--engine", "ipchains"], ["compile", "--policy", "x"], ["explain"]],
    ids=" ".join,
)
def test_usage(host: Host, arguments: list[str]) -> None:
    """A command line that cannot be understood ends with 2."""
    host.refuses(2, *arguments)


def test_addresses(host: Host) -> None:
    """A bad address among good ones gets its own answer, and the exit code reports it at the end."""
    done = host.geodrop.run(
        "explain", "--ruleset", str(host.ruleset), "--json", "-", stdin="1.1.1.1\n1.1.1\n\n2.2.2.2\n"
    )
    assert done.code == 65
    assert [line.get("verdict") for line in done.json_lines if "error" not in line] == ["drop", "accept"]
    assert [line["address"] for line in done.json_lines if "error" in line] == ["1.1.1"]
    host.refuses(65, "explain", "--ruleset", str(host.ruleset), "1.1.1.1/33")


def test_policy_and_state_survive(host: Host) -> None:
    """After every refusal above, the policy in force can still be verified, changed and removed."""
    host.refuses(65, "load", str(host.database), "--interface", "eth0")
    host.geodrop.good("verify")
    host.geodrop.good("load", str(host.other), "--interface", "eth0")
    host.geodrop.good("unload")
    assert "geodrop" not in host.kernel()
    assert "table inet foreign" in host.kernel()
