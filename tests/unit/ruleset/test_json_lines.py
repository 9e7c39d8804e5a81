# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.report.explain import explain_by
from geodrop.ruleset import json_lines as module
from geodrop.ruleset.json_lines import JsonLines
from geodrop.ruleset.model import Ruleset
from tests.support.databases import country
from tests.support.worlds import compiled
from tests.unit.ruleset.test_model import META, pack

POLICY = (
    "version: 1\n"
    "lists: {partners: {prefixes: [1.2.3.0/24]}}\n"
    "corrections: {2.9.0.0/16: CN}\n"
    "never_drop: {prefixes: [1.2.4.0/24], ports: {}}\n"
    "services:\n"
    "  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, allow: [list:partners], deny: [CN],\n"
    "    expect: {drop: [1.5.0.0/16]}}\n"
    "  web: {match: {ports: {tcp: [80]}}, default: deny, unknown: deny, allow: [US], mode: monitor}\n"
)
WORLD = {"1.0.0.0/8": country("CN"), "2.0.0.0/8": country("US"), "2400::/16": country("CN"), "2600::/16": country("US")}
NOW = 1_000.0


@pytest.fixture(scope="module")
def ruleset(tmp_path_factory: pytest.TempPathFactory) -> Ruleset:
    """Return the policy above as a ruleset."""
    return compiled(POLICY, tmp_path_factory.mktemp("lines"), WORLD)


def slowly(ruleset: Ruleset, text: str, now: float = NOW) -> list[str]:
    """Return the lines that everything else is answered with."""
    return [json.dumps(one) for one in explain_by(ruleset, [text], now)]


ADDRESSES = st.one_of(
    st.integers(0, (1 << 32) - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(1 << 24, (3 << 24) - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, (1 << 128) - 1).map(lambda number: str(IPv6Address(number))),
    st.tuples(st.sampled_from([0x2400, 0x2600, 0x2002, 0x2001]), st.integers(0, (1 << 112) - 1)).map(
        lambda pair: str(IPv6Address(pair[0] << 112 | pair[1]))
    ),
    st.integers(0, (1 << 48) - 1).map(lambda number: str(IPv6Address(number))),
)


@given(st.lists(ADDRESSES, max_size=20))
def test_the_same_lines_as_one_by_one(ruleset: Ruleset, texts: list[str]) -> None:
    """Whatever the order in which addresses come: a line is exactly what it is for the address alone, or nothing."""
    quick = JsonLines(ruleset, NOW)
    for text in texts:
        assert quick.of(text) in (None, slowly(ruleset, text))


@pytest.mark.parametrize(
    "text", ["1.2.2.9", "1.2.3.9", "1.2.4.9", "9.9.9.9", "10.0.0.1", "2400::5", "2600:0:0:0::1", "3000::"]
)
def test_what_is_answered(ruleset: Ruleset, text: str) -> None:
    """Addresses of every kind of zone are answered here, also if they are written in another way than usual."""
    assert JsonLines(ruleset, NOW).of(text) == slowly(ruleset, text)


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3.4:5",
        "1.0.0.0/8",
        "CN",
        "x",
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4 ",
        "fe80::1%eth0",
        "::ffff:1.2.3.4",
        "2002:102:304::1",
        "1\0",
        "²",
    ],
)
def test_what_is_left_to_others(ruleset: Ruleset, text: str) -> None:
    """What is no plain address, or holds another one."""
    assert JsonLines(ruleset, NOW).of(text) is None


@pytest.mark.parametrize("text", ["1.5.7.7", "2.9.0.1"])
def test_addresses_that_the_policy_names(ruleset: Ruleset, text: str) -> None:
    """Those of a test or a correction have more to say than others of their zone."""
    assert JsonLines(ruleset, NOW).of(text) is None
    assert JsonLines(ruleset, NOW).of("1.6.7.7") is not None


def test_a_ramp_is_left_to_others() -> None:
    """Each source has a bucket of its own."""
    api, web = META.services
    ramped = Ruleset.unpack(pack(replace(META, services=(replace(api, ramp=((5, 100),)), web))), "test")
    assert JsonLines(ramped, NOW).of("9.9.9.9") is None


def test_a_start_while_addresses_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input may last for hours: a service that starts meanwhile drops from then on."""
    api, web = META.services
    later = Ruleset.unpack(pack(replace(META, tests=(), services=(replace(api, starts=2_000), web))), "test")
    clock = [1_999.0]
    monkeypatch.setattr(module, "time", type("Time", (), {"time": staticmethod(lambda: clock[0])}))
    quick = JsonLines(later, None)
    verdicts = []
    for moment in (1_999.0, 2_000.0, 3_000.0):
        clock[0] = moment
        [line, _] = quick.of("1.9.9.9") or ["", ""]
        verdicts.append(json.loads(line)["verdict"])
    assert verdicts == ["accept", "drop", "drop"]
