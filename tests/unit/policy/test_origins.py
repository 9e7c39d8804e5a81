# SPDX-License-Identifier: Apache-2.0
from geodrop.document.problems import Position
from geodrop.policy.origins import Origins, Written
from tests.unit.policy.policies import service


def test_a_key_that_is_not_written_is_at_its_service() -> None:
    """The place of a missing key is that of the service, the place of a written key is that of its value."""
    api = service("default: deny")
    origins = Origins(services={"api": Written({"allow": Position("p", 7, 9)}, match_readable=True)})
    assert origins.of(api, "allow") == Position("p", 7, 9)
    assert origins.of(api, "match") == api.place
