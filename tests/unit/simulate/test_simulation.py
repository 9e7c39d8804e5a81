# SPDX-License-Identifier: Apache-2.0
"""Totals over logs are those of counting line by line."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.ruleset.model import Ruleset
from geodrop.simulate import effect, simulation
from geodrop.simulate.simulation import Simulation
from geodrop.simulate.verdicts import Verdicts
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = "version: 1\nservices:\n  api: {{default: allow, unknown: allow, deny: [{}]}}\n"
RECORDS = {"1.0.0.0/8": "IR", "2.0.0.0/8": "BR", "2400::/12": "IR", "2600::/12": "BR", "8.0.0.0/8": "US"}
SEED = 11


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts of a policy that denies IR and BR, and of one that denies IR and US."""
    folder = tmp_path_factory.mktemp("rulesets")
    database = write_database(folder / "d.mmdb", {prefix: country(code) for prefix, code in RECORDS.items()})
    geodrop = Geodrop(folder)
    paths = [geodrop.compile(POLICY.format(deny), database, name=deny[-2:]) for deny in ("IR, BR", "IR, US")]
    first, second = (Verdicts(Ruleset.open(path), frozenset({"api"})) for path in paths)
    return first, second


def region(address: str) -> str:
    """Return the country of an address in the database."""
    found = (code for prefix, code in RECORDS.items() if ip_address(address) in ip_network(prefix))
    return next(found, "unknown")


def requests(count: int) -> list[tuple[str, str]]:
    """Return random addresses, many of them repeated, each with an hour."""
    choose = random.Random(SEED)
    pool = [f"{choose.choice('1239')}.{choose.randrange(4)}.0.{choose.randrange(30)}" for _ in range(200)]
    pool += [
        f"{choose.choice(['2400', '2600', '2a00'])}:{choose.randrange(9)}::{choose.randrange(9)}" for _ in range(60)
    ]
    return [
        (choose.choice(pool), f"2024-07-{choose.randrange(8, 10):02}T{choose.randrange(24):02}") for _ in range(count)
    ]


def expected(found: list[tuple[str, str]], denied: set[str]) -> dict[str, Any]:
    """Return the totals of the requests from some countries, counted one by one."""
    dropped = [(address, hour) for address, hour in found if region(address) in denied]
    totals: dict[str, Any] = {
        "dropped": {
            "requests": len(dropped),
            "clients": len({address for address, _ in dropped}),
            "share": round(len(dropped) / len(found), 6),
        }
    }
    keys: dict[str, Callable[[str, str], str]] = {
        "region": lambda address, _: region(address),
        "network": lambda address, _: str(ip_network(f"{address}/{32 if ':' in address else 16}", strict=False)),
        "hour": lambda _, hour: hour,
    }
    for name, key in keys.items():
        clients, numbers = defaultdict[str, set[str]](set), Counter[str]()
        for address, hour in dropped:
            clients[key(address, hour)].add(address)
            numbers[key(address, hour)] += 1
        totals[f"{name}s"] = {one: (len(clients[one]), numbers[one]) for one in numbers}
    return totals


def simplified(found: dict[str, Any]) -> dict[str, Any]:
    """Return the totals of an answer in the form of `expected`."""
    return {"dropped": found["dropped"]} | {
        f"{name}s": {one[name]: (one["clients"], one["requests"]) for one in found[f"{name}s"]}
        for name in ("region", "network", "hour")
    }


def logged(found: list[tuple[str, str]]) -> bytes:
    """Return requests as lines of a log."""
    lines = [f"{a} - - [{h[8:10]}/Jul/2024:{h[11:]}:00:00 +0000] x\n" for a, h in found]
    return "".join(lines).encode()


def test_totals(verdicts: tuple[Verdicts, Verdicts]) -> None:
    """Requests and clients, by region, network and hour, and what differs from another ruleset."""
    found = requests(3000)
    after, before = verdicts
    simulated = Simulation(after, before)
    simulated.open("-")
    for begin in range(0, len(found), 500):
        simulated.add(logged(found[begin : begin + 500]))
    answer = simulated.as_json()
    assert (answer["requests"], answer["clients"], answer["exact"]) == (3000, len({a for a, _ in found}), True)
    assert simplified(answer) == expected(found, {"IR", "BR"})
    assert simplified(answer["newly_dropped"]) == expected(found, {"BR"})
    assert simplified(answer["no_longer_dropped"]) == expected(found, {"US"})


def test_unreadable_lines(verdicts: tuple[Verdicts, Verdicts]) -> None:
    """They are counted, and the first is told by its file and line; blank lines and comments are neither."""
    simulated = Simulation(verdicts[0])
    for name in ("a.log", "b.log"):
        simulated.open(name)
        simulated.add(b"1.0.0.1\n\n# comment\n")
        simulated.add(b"1.0.0.2\n\x1b[2J\xff\n-\n")
    answer = simulated.as_json()
    assert (answer["requests"], answer["clients"]) == (4, 2)
    assert answer["unreadable"] == {
        "count": 4,
        "first_file": "a.log",
        "first_line": 5,
        "first_text": "\x1b[2J\\xff",
    }


def test_more_clients_than_there_is_room_for(
    verdicts: tuple[Verdicts, Verdicts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests stay exact; clients are the least, and `exact` is false."""
    for module in (effect, simulation):
        monkeypatch.setattr(module, "MOST_IPV4", 20)
        monkeypatch.setattr(module, "MOST_IPV6", 5)
    found = requests(3000)
    simulated = Simulation(verdicts[0])
    simulated.open("-")
    simulated.add(logged(found))
    answer = simulated.as_json()
    true = expected(found, {"IR", "BR"})
    assert answer["exact"] is False
    assert answer["requests"] == 3000
    assert answer["clients"] == 25 < len({address for address, _ in found})
    assert answer["dropped"]["requests"] == true["dropped"]["requests"]
    assert {one["region"]: one["requests"] for one in answer["regions"]} == {
        name: number for name, (_, number) in true["regions"].items()
    }
    assert {one["hour"]: one["requests"] for one in answer["hours"]} == {
        name: number for name, (_, number) in true["hours"].items()
    }
