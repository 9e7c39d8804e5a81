from geodrop.document.problems import Position
from geodrop.policy.origins import Origins, Written
from tests.unit.policy.policies import service


def test_a_key_that_is_not_written_is_at_its_service() -> None:
    """A message about what is missing points at the service; about what is there, at its value."""
    api = service("default: deny")
    origins = Origins(services={"api": Written({"allow": Position("p", 7, 9)}, match_readable=True)})
    assert origins.of(api, "allow") == Position("p", 7, 9)
    assert origins.of(api, "match") == api.place
