# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from geodrop.engine.api import KernelVerdict, Observed
from geodrop.report import explain as module
from geodrop.report.explain import explain_by
from geodrop.ruleset.model import Ruleset
from geodrop.state.intent import FOREVER
from tests.unit.ruleset.test_model import META, pack

FIRST = str(IPv4Address(0))
RULESET = Ruleset.unpack(pack(), "file")
OBSERVED = Observed(9, "9a41c07be212")


class Kernel:
    """A fake engine that gives verdicts and remembers the portions in which it was asked."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Return verdicts whose target is the address itself."""
        self.asked.append(list(addresses))
        services = [service.name for service in ruleset.meta.services]
        return [[KernelVerdict(service, "accept", address) for service in services] for address in addresses]


def test_a_prefix_is_answered_for_each_of_its_parts() -> None:
    """Each way in which addresses of a prefix are judged gives one address, its share, and the kernel's verdict."""
    kernel = Kernel()
    found = list(explain_by(RULESET, ["1.0.0.0/6"], 0, kernel, OBSERVED))  # type: ignore[arg-type]  # as above
    assert [(one["address"], one["addresses"], one["verdict"]) for one in found[::2]] == [
        (FIRST, 3 << 24, "accept"),
        ("1.0.0.0", 1 << 24, "drop"),
    ]
    assert kernel.asked == [[FIRST, "1.0.0.0"]]
    assert {one["kernel"]["generation"] for one in found} == {9}
    assert {one["kernel"]["digest"] for one in found} == {"9a41c07be212"}


def test_a_region_is_answered_for_each_of_its_parts() -> None:
    """One address of each part is looked up in the kernel."""
    kernel = Kernel()
    found = list(explain_by(RULESET, ["CN"], 0, kernel, OBSERVED))  # type: ignore[arg-type]  # as above
    assert [(one["about"], one["subject"], one["address"], one["addresses"], one["verdict"]) for one in found] == [
        ("country", "CN", "1.0.0.0", 1 << 24, "drop"),
        ("country", "CN", "1.0.0.0", 1 << 24, "accept"),
    ]
    assert kernel.asked == [["1.0.0.0"]]


def test_an_exempt_address_says_nothing_about_its_region() -> None:
    """The kernel lets one address of a region pass since it is exempt: the answer about the region stays."""

    class Exempting(Kernel):
        def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
            """Return verdicts for exempt addresses."""
            return [
                [replace(one, would_drop=True, exempted=True) for one in row]
                for row in super().judge(ruleset, addresses)
            ]

    for text, verdict in (("CN", "drop"), ("1.0.0.0", "accept")):
        answer, _ = explain_by(RULESET, [text], 0, Exempting(), OBSERVED)  # type: ignore[arg-type]  # as above
        assert answer["kernel"]["verdict"] == verdict


def test_a_pause_without_end_lasts_until_resume() -> None:
    """A pause without an end shows `resume` and not a date in the year 2100."""
    [api, _] = explain_by(RULESET.paused(FOREVER), ["1.2.3.4"], 0)
    assert (api["would_drop"], api["verdict"], api["starts"]) == (True, "accept", "resume")


def test_order_and_bad_lines() -> None:
    """There is an object for each address and service, in order, with repetitions; so for a text that is no address."""
    found = list(explain_by(RULESET, ["1.2.3.4", "nonsense", "1.2.3.4"], 0))
    services = [service.name for service in META.services]
    assert [(one["address"], one.get("service")) for one in found] == [
        *(("1.2.3.4", name) for name in services),
        ("nonsense", None),
        *(("1.2.3.4", name) for name in services),
    ]
    assert "is neither an address nor a known region" in found[len(services)]["error"]


def test_the_kernel_is_asked_in_portions() -> None:
    """Many addresses are looked up at once, each verdict beside its address, and no input is read further ahead."""
    kernel = Kernel()
    given = iter([f"1.0.{number // 256}.{number % 256}" for number in range(module.BATCH + 1)])
    found = explain_by(RULESET, given, 0, kernel)  # type: ignore[arg-type]  # it is asked for nothing else
    assert next(found)["kernel"] == {
        "generation": 0,
        "digest": "",
        "verdict": "accept",
        "would_drop": False,
        "where": "1.0.0.0",
        "target": None,
    }
    assert next(given) == f"1.0.{module.BATCH // 256}.0"
    assert all(one["kernel"]["where"] == one["address"] for one in found)
    assert [len(portion) for portion in kernel.asked] == [module.BATCH]


def test_a_prefix_is_a_portion_of_its_own() -> None:
    """Urgent work waits for at most one portion: PIECE addresses, or one prefix or region."""
    asked = [*["1.2.3.4"] * (module.PIECE + 1), "1.0.0.0/8", "2.0.0.0/8", "1.2.3.4", "1.2.3.5", "CN", "1.2.3.4"]
    assert [len(portion) for portion in module._portions(asked)] == [module.PIECE, 1, 1, 1, 2, 1, 1]
    assert [text for portion in module._portions(asked) for text in portion] == asked
    assert list(module._portions([])) == []
