# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.policy import unintended
from geodrop.policy.spans import spans
from tests.unit.policy.policies import load, said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.policy.model import Network
    from geodrop.policy.spans import Spans

LIST_FILE = b"9.9.9.0/24\n10.1.0.0/16\n127.0.0.1\nfe80::/10\n"


def api(keys: str, head: str = "", default: str = "allow") -> str:
    """Return a policy whose service `api` has a match and, in its last line, the given key and value."""
    service = f"services:\n  api:\n    match: {{ports: {{tcp: [443]}}}}\n    default: {default}\n    unknown: allow\n"
    return f"{head}{service}    {keys}\n"


PASSES = "where health checks and neighbours are, and which pass if no line names them; take them out, or put what "
PASSES += "must pass into prefixes of never_drop"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("10.0.0.0/8", "10.0.0.0/8 holds special addresses"),
        ("127.0.0.1", "127.0.0.1 holds special addresses"),
        ("8.0.0.0/5", "8.0.0.0/5 holds special addresses"),
        ("fd00::/64", "fd00::/64 holds special addresses"),
        ("224.0.0.1", "224.0.0.1 holds special addresses"),
        ("169.254.169.254", "169.254.169.254 holds special addresses"),
        ("9.0.0.0/8", None),
        ("192.0.0.9", None),  # globally reachable, inside a special range
        ("2002:a00::/24", None),  # 6to4 is judged by the embedded address
    ],
)
def test_a_denied_prefix_with_special_addresses(text: str, holds: str | None) -> None:
    """A line that denies special addresses gives a warning: it drops internal traffic that passes by default."""
    warning = f"7:12: warning: {holds}, {PASSES}"
    assert said(api(f"deny: ['{text}']")) == ([warning] if holds else [])
    assert said(api(f"allow: ['{text}']")) == []


def test_a_denied_list_with_special_addresses() -> None:
    """For a list, the warning is at the line that names it; it names the first such prefix and counts the others."""
    head = "lists: {l: {file: l.txt}}\n"
    warning = f"8:12: warning: list:l holds special addresses (10.1.0.0/16 and 2 more), {PASSES}"
    assert said(api("deny: [list:l]", head), {"l.txt": LIST_FILE}) == [warning]
    groups = "groups: {g: ['list:l']}\n"
    assert [
        one.replace("2:14", "8:12") for one in said(api("deny: [group:g]", groups + head), {"l.txt": LIST_FILE})
    ] == [warning]


def test_special_addresses_that_are_never_dropped_are_no_trouble() -> None:
    """Special addresses in never_drop pass whatever a list denies, so there is a warning only for the others."""
    head = "lists: {l: {file: l.txt}}\nnever_drop: {prefixes: [10.0.0.0/8, 'fe80::/10'], ports: {}}\n"
    (warning,) = said(api("deny: [list:l]", head), {"l.txt": LIST_FILE})
    assert "list:l holds special addresses (127.0.0.1/32), " in warning


@pytest.mark.parametrize(("key", "verb"), [("deny", "drops"), ("allow", "accepts")])
@pytest.mark.parametrize(
    ("text", "family"),
    [("0.0.0.0/0", 4), ("::/0", 6), ("2000::/3", 6)],
)
def test_a_prefix_that_holds_everything(key: str, verb: str, text: str, family: int) -> None:
    """A prefix that holds a whole family leaves nothing to other lines; this is the only warning about it."""
    (warning,) = said(api(f"{key}: ['{text}', IR]"))
    assert warning == (
        f'7:{9 + len(key) - 1}: warning: {text} holds every IPv{family} address: service "api" {verb} all of it, '
        f"whatever the region; take it out, or write  default: {key}"
    )


@pytest.mark.parametrize(
    ("lines", "lists"),
    [
        ("0.0.0.0/1, 128.0.0.0/1", {}),
        ("0.0.0.0/1, 'list:l'", {"l.txt": b"128.0.0.0/2\n192.0.0.0-255.255.255.255\n"}),
        ("'list:l', 'group:g', 5.5.5.5", {"l.txt": b"# upper\n128.0.0.0/1\n"}),
    ],
)
def test_everything_in_pieces(lines: str, lists: dict[str, bytes]) -> None:
    """Prefixes that hold a family together give one warning, at the key, across lines, groups and lists."""
    head = "groups: {g: [0.0.0.0/1]}\nlists: {l: {file: l.txt}}\n"
    found = said(api(f"deny: [{lines}]", head), {"l.txt": b"5.5.5.5\n", **lists})
    assert not [one for one in found if "special" in one], "that is a part of it"
    (warning,) = [one for one in found if "every" in one]
    assert warning == (
        '9:11: warning: the prefixes of deny hold every IPv4 address together: service "api" drops all of it, whatever '
        "the region; take it out, or write  default: deny"
    )


def test_a_list_in_pieces_that_holds_everything() -> None:
    """A list with both halves of the internet gives one warning, and none about special addresses in it."""
    head = "lists: {l: {file: l.txt}}\n"
    (warning,) = said(api("deny: [list:l]", head), {"l.txt": b"0.0.0.0/1\n128.0.0.0/1\n"})
    assert warning.startswith("8:12: warning: list:l holds every IPv4 address: ")


def test_nearly_everything_is_not_everything() -> None:
    """Prefixes that leave out one public address give no warning."""
    head = "lists: {l: {file: l.txt}}\n"
    found = said(api("allow: [list:l]", head), {"l.txt": b"0.0.0.0-9.9.9.8\n9.9.9.10-255.255.255.255\n"})
    assert found == []


@pytest.mark.parametrize(
    ("keys", "head", "place"),
    [
        ("allow: []", "", "7:12"),
        ("deny: [IR]", "", "3:3"),
        ("allow: [list:l]", "lists: {l: {prefixes: []}}\n", "8:12"),
        ("allow: [group:g]", "groups: {g: [group:h], h: []}\n", "8:12"),
    ],
)
@pytest.mark.parametrize("unknown", ["allow", "deny"])
def test_nobody_is_allowed(keys: str, head: str, place: str, unknown: str) -> None:
    """`default: deny` with nothing allowed gives a warning, at `allow`, or at the service without that key."""
    text = api(keys, head, "deny").replace("unknown: allow", f"unknown: {unknown}")
    but = ", but for sources that no database knows" if unknown == "allow" else ""
    expected = (
        f'{place}: warning: service "api" allows nothing under  default: deny, so it drops everybody{but}; write '
    )
    found = [one for one in said(text) if "is empty" not in one]
    assert found == [expected + "who may connect, such as  allow: [US]"]


def test_some_sources_are_allowed() -> None:
    """One allowed region or prefix, or `default: allow`, gives no warning."""
    for text in (api("allow: [JP]", default="deny"), api("allow: [9.9.9.9]", default="deny"), api("allow: []")):
        assert said(text) == []


def test_a_closed_service_is_meant() -> None:
    """A service with both verdicts deny and no lines is clearly intended, and gives no warning."""
    assert said(api("mode: enforce", default="deny").replace("unknown: allow", "unknown: deny")) == []


TCP, UDP = "its own TCP connections", "its DNS queries"


@pytest.mark.parametrize(
    ("keys", "never", "lost"),
    [
        ("", "", [TCP, UDP]),
        ("match: {addresses: [9.9.9.9]}", "", [TCP, UDP]),
        ("match: {protocols: [tcp, icmp]}", "", [TCP]),
        ("match: {protocols: [udp]}", "", [UDP]),
        ("match: {ports: {tcp: [1-65535]}}", "", [TCP]),
        ("match: {ports: {udp: [1024-65535]}}", "", [UDP]),
        ("established: keep", "", [UDP]),
        ("", "prefixes: [9.9.9.9]", [TCP]),
        ("established: keep", "prefixes: [9.9.9.9]", []),
        ("match: {ports: {tcp: [443, 40000-50000]}}", "", []),
        ("match: {protocols: [icmp]}", "", []),
    ],
)
def test_answers_to_what_the_host_asks(keys: str, never: str, lost: list[str]) -> None:
    """A service that takes every port under `default: deny` drops answers to the host's own requests: a warning."""
    head = f"never_drop: {{{never}, ports: {{}}}}\n" if never else ""
    text = f"{head}services:\n  api: {{default: deny, unknown: deny, allow: [JP]{', ' + keys if keys else ''}}}\n"
    found = said(text)
    if not lost:
        assert found == []
        return
    (warning,) = found
    assert (
        f'service "api" is not limited to ports, so under  default: deny  this host loses answers to {lost[0]}'
        in warning
    )
    assert [what for what in (TCP, UDP) if what in warning] == lost
    assert ("established: keep" in warning) == (TCP in lost)
    assert ("its resolvers under prefixes of never_drop" in warning) == (UDP in lost)


def test_answers_matter_only_by_default() -> None:
    """If only named regions are denied, there is no warning about answers: most come from elsewhere."""
    assert said("services:\n  api: {default: allow, unknown: allow, deny: [IR]}\n") == []


@pytest.mark.parametrize(
    ("never", "by"),
    [
        ("", "never_drop, which is  ports: {tcp: [22]}  if it is not written,"),
        ("never_drop: {ports: {tcp: [20-30], udp: [53]}}\n", "never_drop"),
    ],
)
def test_ports_that_are_never_judged(never: str, by: str) -> None:
    """A service for a port in never_drop drops nothing there, which gives a warning; ssh is there by default."""
    text = never + "services:\n  api: {match: {ports: {tcp: [22, 443]}}, default: allow, unknown: allow, deny: [IR]}\n"
    (warning,) = said(text)
    line = 4 if never else 3
    assert warning == (
        f'{line}:16: warning: {by} accepts tcp/22 before service "api" is asked, so it drops nothing there; take it '
        "out of one of the two"
    )


def test_ports_around_what_is_never_dropped_are_judged() -> None:
    """A port range larger than never_drop, and a never_drop without ports, give no warning."""
    for keys in ("{tcp: [1-1023]}", "{tcp: [443], udp: [22]}"):
        assert (
            said(f"services:\n  api: {{match: {{ports: {keys}}}, default: allow, unknown: allow, deny: [IR]}}\n") == []
        )
    never = "never_drop: {}\n"
    assert said(f"{never}services:\n  api: {{match: {{ports: {{tcp: [22]}}}}, default: allow, unknown: allow}}\n") == []


def test_nobody_is_ever_dropped() -> None:
    """A never_drop that holds a whole family, also in pieces, gives a warning: no service drops anything."""
    never = "never_drop: {prefixes: [0.0.0.0/1, 128.0.0.0/1, 10.0.0.0/8], ports: {}}\n"
    (warning,) = said(never + api("deny: [IR]"))
    assert warning == (
        "2:13: warning: never_drop holds every IPv4 address, so no service drops any of it; write only those that must "
        "always pass"
    )


def test_unused_groups_are_one_line() -> None:
    """Seven unused groups inside each other give one warning, which names the outermost group."""
    names = ["africa", "americas", "asia", "europe", "oceania", "territories"]
    groups = f"  supported: [{', '.join(f'group:{name}' for name in names)}]\n" + "".join(
        f"  {name}: [JP]\n" for name in names
    )
    assert said(f"groups:\n{groups}" + api("deny: [IR]")) == [
        '3:3: warning: no service uses group "supported" (with 6 more in it); remove it, or name it in a line'
    ]


def test_many_unused_names_are_cut_short() -> None:
    """Many unused groups and lists give one warning each, with the first few names."""
    groups = "groups: {" + ", ".join(f"g{number}: [JP]" for number in range(7)) + "}\n"
    lists = "lists: {" + ", ".join(f"l{number}: {{prefixes: [9.9.9.9]}}" for number in range(2)) + "}\n"
    shown = [f'"g{number}"' for number in range(5)]
    assert said(groups + lists + api("deny: [IR]")) == [
        f"2:10: warning: no service uses groups {', '.join(shown)} and 2 more; remove them, or name them in a line",
        '3:9: warning: no service uses lists "l0", "l1"; remove them, or name them in a line',
    ]


def test_lists_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list used by many services is only evaluated once: it may have millions of prefixes."""
    seen: list[Iterable[Network]] = []

    def counted(networks: Iterable[Network], family: int) -> Spans:
        seen.append(networks)
        return spans(networks, family)

    monkeypatch.setattr(unintended, "spans", counted)
    services = "".join(
        f"  s{number}: {{default: allow, unknown: allow, mode: monitor, deny: [list:l]}}\n" for number in range(50)
    )
    policy, _ = load(f"lists: {{l: {{file: l.txt}}}}\nservices:\n{services}", {"l.txt": LIST_FILE})
    assert sum(networks == policy.lists["l"].prefixes for networks in seen) == 2, "once a family"
