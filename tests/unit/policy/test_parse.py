# SPDX-License-Identifier: Apache-2.0
import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.errors import DataError, ListError, PolicyError
from geodrop.policy.model import NeverDrop, Ports
from geodrop.policy.parse import load_policy
from tests.unit.policy.policies import FILE, SERVICE, load, said

EXAMPLE = """\
version: 1
groups:
  supported: [MX, CA, JP, UA, group:eea]        # groups nest and may mix levels; each member is judged at its own level
  eea: [DE, IE, SE]
lists:
  partners: {prefixes: [192.0.2.0/24, "2001:db8:1::/48"]}
  scanners: {file: lists/scanners.txt}          # relative to this file; # comments
corrections:                                    # the database is wrong about these
  9.9.9.0/24: US
services:
  api:
    match:
      ports: {tcp: [443, 8000-8099], udp: [443]}  # limits the service to these protocols and ports
      protocols: [icmp]                         # more protocols, whole
      addresses: [203.0.113.0/28]               # local addresses, as on the wire; left out: every one
    default: deny                               # required: allow | deny, for a region that no line below names
    unknown: allow                              # required: sources that no database knows
    allow: [group:supported, list:partners]
    deny: [UA-43, UA-40, UA-14, UA-09, list:scanners]
    mode: enforce                               # enforce (default) | monitor: count, drop nothing
    starts: 2024-07-09T00:00:00Z                # until then monitor, whatever mode says; a zone is required
    established: cut                            # cut (default) | keep: of TCP only openings are judged
    action: drop                                # drop (default) | reject (nftables only)
    expect: {accept: [9.9.9.0/24]}              # tests, run at every compile
never_drop:                                     # judged before every service; left out: tcp/22; {} means none
  prefixes: [10.0.0.0/8]
  ports: {tcp: [22]}
limits:
  blast_radius: 5%                              # per service
  database_age: 45d                             # alarm; holds back only a change of database
"""
"""A policy with comments and most keys."""

DEPLOYED = sorted((Path(__file__).parents[3] / "deploy" / "policies").glob("*.yaml"))


def test_the_example() -> None:
    """Every key of the schema is read as documented."""
    policy, warnings = load_policy(EXAMPLE.encode(), FILE, lambda name: f"# {name}\n1.1.1.1-1.1.1.2".encode())
    assert warnings == []
    assert policy.text == EXAMPLE
    assert policy.file == FILE
    assert {name: [line.text for line in lines] for name, lines in policy.groups.items()} == {
        "supported": ["MX", "CA", "JP", "UA", "group:eea"],
        "eea": ["DE", "IE", "SE"],
    }
    assert policy.lists["partners"].prefixes == (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"))
    assert policy.lists["scanners"].file == "lists/scanners.txt"
    assert policy.lists["scanners"].prefixes == (ip_network("1.1.1.1"), ip_network("1.1.1.2"))
    assert policy.corrections == {ip_network("9.9.9.0/24"): "US"}
    at = next(number for number, line in enumerate(EXAMPLE.splitlines(), 1) if "9.9.9.0/24: US" in line)
    assert policy.corrected_at == {ip_network("9.9.9.0/24"): at}
    assert policy.never_drop == NeverDrop((ip_network("10.0.0.0/8"),), Ports(tcp=((22, 22),)))
    assert (policy.limits.blast_radius, policy.limits.database_age) == (0.05, timedelta(days=45))
    (api,) = policy.services
    assert (api.name, api.match.ports.tcp, api.match.protocols) == ("api", ((443, 443), (8000, 8099)), (1, 58))
    assert [line.text for line in api.deny] == ["UA-43", "UA-40", "UA-14", "UA-09", "list:scanners"]
    assert [(test.aim, test.text) for test in api.expect] == [("accept", "9.9.9.0/24")]


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.name)
def test_policies_that_are_shipped(path: Path) -> None:
    """The example policies load as they are, without a warning."""
    policy, warnings = load_policy(path.read_bytes(), path.name, lambda name: (path.parent / name).read_bytes())
    assert policy.services
    assert not warnings


@pytest.mark.parametrize(
    ("text", "never_drop"),
    [
        ("", NeverDrop((), Ports(tcp=((22, 22),)))),
        ("never_drop: {}\n", NeverDrop((), Ports())),
        ("never_drop: {ports: {}}\n", NeverDrop((), Ports())),
        ("never_drop: {ports: {udp: [53, 54]}}\n", NeverDrop((), Ports(udp=((53, 54),)))),
        (
            "never_drop: {prefixes: [10.0.0.0/8, 10.0.0.0/8], ports: {}}\n",
            NeverDrop((ip_network("10.0.0.0/8"),), Ports()),
        ),
    ],
)
def test_never_drop(text: str, never_drop: NeverDrop) -> None:
    """Without the key ssh is never dropped; a written key replaces that default."""
    policy, warnings = load(text + SERVICE)
    assert policy.never_drop == never_drop
    assert not warnings


def test_never_drop_without_ports_is_remarked_on() -> None:
    """never_drop with prefixes and without ports gives a warning, because ssh is then not protected."""
    (message,) = said("never_drop: {prefixes: [10.0.0.0/8]}\n" + SERVICE)
    assert message.startswith("2:13: warning: never_drop names no ports, so ssh can be dropped; write  ports:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2\n", '1:10: error: version: "2" is not a version that this geodrop reads; write 1'),
        ("version: 01\n", '1:10: error: version: "01" is not a version'),
        ("version:\n", "1:9: error: version is empty"),
        ("", "1:1: error: the policy has no version; write  version: 1  at the top"),
    ],
)
def test_version(text: str, message: str) -> None:
    """The version is required, and only 1 is accepted."""
    with pytest.raises(PolicyError) as refused:
        load_policy((text + SERVICE).encode(), "p", lambda _: b"")
    (problem,) = refused.value.problems
    assert f"{problem.place}: {problem.severity}: {problem.message}".startswith(f"p:{message}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p:1:1: error: the policy is empty; write  version: 1  and at least one service"),
        (b"# nothing\n", "p:1:1: error: the policy is empty"),
        (b"[]", "p:1:1: error: the policy is a list; write  name: value  pairs"),
        (b"NO", "p:1:1: error: the policy is a single value"),
        (b"version: 1\n", "p:1:1: error: the policy has no service; write at least one under  services:"),
        (b"version: 1\nservices: {}\n", "p:2:11: error: the policy has no service"),
        (b"version: 1\nservices: []\n", "p:2:11: error: services is a list"),
        (b"version: 1\nservices:\n", "p:2:10: error: services is empty"),
        (b"version: 1\nservices:\n  api:\n", 'p:3:7: error: service "api" is empty'),
        (b"version: 1\nservices: [\n", "p:"),
    ],
)
def test_policies_without_content(data: bytes, message: str) -> None:
    """An empty document, or one that is no policy, is refused."""
    with pytest.raises(PolicyError) as refused:
        load_policy(data, "p", lambda _: b"")
    assert str(refused.value.problems[0]).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grups: {}", '2:1: error: "grups" is not a key of the policy; did you mean "groups"?'),
        ("groups: {Big: [US]}", '2:10: error: name in groups: "Big" is no name (1 to 32 of a-z'),
        ("groups: {g: US}", '2:13: error: group "g" is a single value, but must be a list; write [US]'),
        ("groups: {g: [usa]}", '2:14: error: entry of group "g": "usa" names nothing'),
        ("lists: {l: {}}", '2:9: error: list "l" is empty; write exactly one of prefixes, file, asn, traits'),
        ("lists: {l: {prefixes: [], file: x}}", '2:9: error: list "l" has prefixes and file; write exactly one of'),
        ("lists: {l: {prefix: []}}", '2:13: error: "prefix" is not a key of list "l"; did you mean "prefixes"?'),
        ("lists: {l: {asn: [x]}}", '2:19: error: entry of asn of list "l": "x" is not the number of a network'),
        (
            "lists: {l: {traits: [tor]}}",
            '2:22: error: entry of traits of list "l": "tor" is not a trait; write',
        ),
        ("lists: {l: {asn: [1], guard: {entries: 1-}}}", '2:30: error: list "l": a guard is for prefixes and files'),
        ("lists: {l: {file: /etc/x}}", '2:19: error: file of list "l": "/etc/x" is absolute'),
        ("lists: {l: {prefixes: [9.9.9.9/8]}}", '2:24: error: entry of prefixes of list "l": 9.9.9.9/8 has bits set'),
        ("corrections: {9.9.9.9/8: US}", "2:15: error: correction: 9.9.9.9/8 has bits set"),
        ("corrections: {9.9.9.0/24: 1:30}", '2:27: error: correction of "9.9.9.0/24": "1:30" is not a country'),
        ("corrections: {9.9.9.0/24: EU}", '2:27: error: correction of "9.9.9.0/24": "EU" is a pseudo-country'),
        ("corrections: {9.9.9.9: US, 9.9.9.9/32: CA}", "2:28: error: 9.9.9.9/32 is corrected twice"),
        ("corrections: {10.1.0.0/16: US}", "2:15: error: 10.1.0.0/16 is special (10.0.0.0/8)"),
        ("corrections: {8.0.0.0/5: US}", "2:15: error: 8.0.0.0/5 is special (10.0.0.0/8)"),
        (
            "corrections: {'2002:808::/32': US}",
            "2:15: error: 2002:808::/32 holds IPv4 addresses (6to4); correct the IPv4",
        ),
        ("corrections: {'64:ff9b::/96': US}", "2:15: error: 64:ff9b::/96 holds IPv4 addresses (nat64)"),
        ("corrections: [9.9.9.9]", "2:14: error: corrections is a list"),
        ("never_drop: {tcp: [22]}", '2:14: error: "tcp" is not a key of never_drop'),
        ("never_drop: {ports: {tcp: [ssh]}}", '2:28: error: entry of tcp ports of never_drop: "ssh" is not a port'),
        ("never_drop:", "2:12: error: never_drop is empty; write  name: value  pairs, or {} for none"),
        ("limits: {blast_radius: never}", '2:24: error: blast_radius of limits: "never" is not a share'),
        ("limits: {blast_radius: 5}", '2:24: error: blast_radius of limits: "5" is not a share'),
        ("limits: {database_age: 45}", '2:24: error: database_age of limits: "45" is not a duration'),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """In every section, each mistake is an error at its place that says what to write."""
    found = [line for line in said(text + "\n" + SERVICE) if ": error: " in line]
    assert len(found) == 1
    assert found[0].startswith(message)
    assert ";" in found[0]


def test_corrections_of_ordinary_space() -> None:
    """Addresses that only look special can be corrected: exceptions inside special blocks, and any kind of IPv6."""
    policy, _ = load("corrections: {192.0.0.9: US, '2a00::/16': NO, '4000::/16': SE}\n" + SERVICE)
    assert {str(network): country for network, country in policy.corrections.items()} == {
        "192.0.0.9/32": "US",
        "2a00::/16": "NO",
        "4000::/16": "SE",
    }


@pytest.mark.parametrize("text", ["groups: {g: []}\n", "lists: {g: {prefixes: []}}\n"])
def test_empty_names_are_remarked_on(text: str) -> None:
    """An empty group or list gives a warning, because a line that names it does nothing."""
    kind = text.split("s:", maxsplit=1)[0]
    uses = f"services: {{api: {{default: allow, unknown: allow, deny: ['{kind}:g']}}}}\n"
    (message,) = said(text + uses)
    assert f'warning: {kind} "g" is empty; a line that names it does nothing' in message


USES_LIST = "services: {api: {default: allow, unknown: allow, deny: ['list:l']}}\n"
LIST = "lists: {l: {file: lists/l.txt}}\n"


def test_a_list_file_of_comments_alone_is_remarked_on() -> None:
    """A list file with only comments gives a warning at the list: the download may be incomplete, or the file wrong."""
    (message,) = said(LIST + USES_LIST, {"lists/l.txt": b"# the feed of November\n\n"})
    place, text = message.split(" warning: ")
    assert place == "2:19:"
    assert text.startswith('list "l": "lists/l.txt" has comments and no prefix; a line that names it does nothing')


def test_list_files_are_read_by_name() -> None:
    """The callback gets the name as written, and returns the content."""
    policy, _ = load(LIST + USES_LIST, {"lists/l.txt": b"9.9.9.0/24\n"})
    assert policy.lists["l"].prefixes == (ip_network("9.9.9.0/24"),)


def test_mistakes_in_list_files_alone_are_bad_data() -> None:
    """If only list files have mistakes, the exit code is 65, with the file's lines and its path from the policy."""
    with pytest.raises(ListError) as refused:
        load(LIST + USES_LIST, {"lists/l.txt": b"9.9.9.9\nx\n8.8.8.8/24\n"})
    assert isinstance(refused.value, DataError)
    assert [str(problem.place) for problem in refused.value.problems] == ["etc/lists/l.txt:2:1", "etc/lists/l.txt:3:1"]
    assert refused.value.problems[0].source == "x"


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory"), DataError("l.txt: not a file")])
def test_list_files_that_cannot_be_had_are_bad_data(error: Exception) -> None:
    """A list file that cannot be read is reported at its name in the policy."""

    def read_list(_: str) -> bytes:
        raise error

    with pytest.raises(ListError, match=r"p:2:19: error: .*l\.txt.*: (No such file|not a file)") as refused:
        load_policy(("version: 1\n" + LIST + USES_LIST).encode(), "p", read_list)
    assert refused.value.exit_code == 65


def test_mistakes_in_both_are_one_report() -> None:
    """With a mistake in the policy itself the exit code is that of a bad policy, and the lists are reported too."""
    with pytest.raises(PolicyError) as refused:
        load(LIST + USES_LIST + "zzz: 1\n", {"lists/l.txt": b"x\n"})
    assert [str(problem.place) for problem in refused.value.problems] == ["etc/policy.yaml:4:1", "etc/lists/l.txt:1:1"]


def test_all_sections_at_once() -> None:
    """Mistakes in every section and in two files are all reported in one run, in file order."""
    text = """\
    zzz: 1
    groups: {a: [usa], b: [group:nowhere]}
    lists: {l: {file: lists/l.txt}, m: {file: lists/m.txt}}
    corrections: {10.0.0.0/8: US}
    services:
      api: {default: allow, unknown: allow, allow: [US], deny: [US, 'list:nowhere']}
      web: {default: allow, unknown: allow}
    never_drop: {ports: {tcp: [x]}}
    limits: {blast_radius: x}
    """
    found = [line for line in said(text, {"lists/m.txt": b"x\n"}) if ": error: " in line]
    assert [":".join(line.split(":")[:2]) for line in found] == [
        "2:1",
        "3:14",
        "3:24",
        "4:19",
        "5:15",
        "7:61",
        "7:65",
        "8:3",
        "9:28",
        "10:24",
        "etc/lists/m.txt:1",
    ]


PIECES = st.sampled_from(
    [
        *("version: 1", "services:", "groups:", "lists:", "corrections:", "never_drop:", "limits:"),
        *("  api: {default: allow, unknown: deny}", "  api:", "    default: deny", "    unknown: allow", "    match:"),
        *("      ports: {tcp: [443, 1-0]}", "      addresses: [9.9.9.9, x]", "    allow: [NO, group:a, list:l]"),
        *("    deny: [UA-43, 10.0.0.0/8, continent:EU, null]", "  a: [group:a, US]", "  l: {file: lists/l.txt}"),
        *("  l: {prefixes: [9.9.9.9/8]}", "  9.9.9.0/24: US", "  ::/0: NO", "  ports: {tcp: [22]}", "  - x", "  ? [a]"),
        *(
            "    mode: monitor",
            "    starts: 2024-07-09",
            "  blast_radius: 5%",
            "*a",
            "&a b",
            "\t",
            "---",
            "'",
            "\\",
            "\u202e",
        ),
    ]
)


@given(st.one_of(st.binary(max_size=120), st.lists(PIECES, max_size=25).map(lambda lines: "\n".join(lines).encode())))
def test_any_bytes_are_a_policy_or_problems_inside_the_file(data: bytes) -> None:
    """Any bytes give a policy, or a PolicyError or ListError with every place inside the file that it names."""
    files = {"p": data, "lists/l.txt": data}
    try:
        problems = load_policy(data, "p", files.__getitem__)[1]
    except (PolicyError, ListError) as error:
        problems = list(error.problems)
        assert any(problem.severity == "error" for problem in problems)
    for problem in problems:
        text = files[problem.place.file].decode(errors="replace")
        lines = text.split("\n") if problem.place.file != "p" else re.split(r"\r\n|\r|\n", text)
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1
        assert problem.message.isprintable()
