# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

import pytest

from geodrop.ruleset.covering import covering
from geodrop.ruleset.meta import CompiledTest

TESTS = (
    CompiledTest("api", "drop", "81.2.0.0/16", None, 9),
    CompiledTest("api", "accept", "81.2.69.0/24", None, 7),
    CompiledTest("api", "region", "81.2.69.142/32", "GB", 8),
    CompiledTest("web", "accept", "81.2.69.0/24", None, 20),
    CompiledTest("api", "accept", "2a02:6b8::/32", None, 10),
)


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ("81.2.69.142", [7, 8, 9]),
        ("81.2.69.143", [7, 9]),
        ("81.2.68.0", [9]),
        ("81.3.0.0", []),
        ("81.2.69.128/25", [7, 8, 9]),
        ("81.2.0.0/15", [7, 8, 9]),
        ("81.2.69.0/24", [7, 8, 9]),
        ("0.0.0.0/0", [7, 8, 9]),
        ("2a02:6b8::1", [10]),
        ("2a02::/16", [10]),
        ("::/0", [10]),
        ("2a02:6b9::", []),
    ],
)
def test_tests_are_found_by_what_they_hold_and_what_holds_them(asked: str, lines: list[int]) -> None:
    """Tests about the network, a larger one or a part of it are found, in the order of the file, for that service."""
    assert [test.at for test in covering(TESTS).about("api", ip_network(asked))] == lines
    assert covering(TESTS).about("nobody", ip_network(asked)) == []
    assert covering(()).about("api", ip_network(asked)) == []


def test_the_tests_of_the_last_ruleset_are_sorted_once() -> None:
    """Equal tests of another ruleset are others: nothing is compared, and nothing is taken for another ruleset's."""
    first = covering(TESTS)
    assert covering(TESTS) is first
    assert covering(TESTS[:1]).about("api", ip_network("81.2.69.142")) == [TESTS[0]]
    assert covering(TESTS) is not first
