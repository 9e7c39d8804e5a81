from ipaddress import ip_address

import pytest

from geodrop.compile.build import build
from geodrop.compile.explain import explain_with_databases
from geodrop.geo.database import Database
from geodrop.ruleset.model import Ruleset
from tests.support.databases import city, write_database
from tests.support.worlds import regions
from tests.unit.compile.worlds import policy, service


@pytest.mark.parametrize(
    ("address", "region", "record"),
    [
        ("2.0.0.1", "UA-43", city("UA", "43")),
        ("2.1.0.1", "UA-30", city("UA", "30")),
        ("9.9.9.9", "unknown", None),
        ("10.0.0.1", "unknown", None),
        ("2002:200:1::", "UA-43", city("UA", "43")),
        ("2002:a00:1::", "unknown", None),
        ("4000::1", "unknown", None),
    ],
)
def test_region_is_the_databases_own(  # the ruleset knows no UA-30, since no line names it
    tmp_path_factory: pytest.TempPathFactory, address: str, region: str, record: object
) -> None:
    """What the databases say, unnamed subdivisions included, and the record it comes from; embedded addresses too."""
    path = tmp_path_factory.mktemp("world") / "city.mmdb"
    write_database(path, {"2.0.0.0/16": city("UA", "43"), "2.1.0.0/16": city("UA", "30"), "2a00::/16": city("UA")})
    given = policy(service(deny=["UA-43"]), service("web", port=80))
    region_map = regions([Database.open(path.read_bytes(), path.name)], {})
    ruleset = Ruleset.unpack(build(given, region_map, []), "test")
    answers = list(explain_with_databases(ruleset, region_map, ip_address(address), 0))
    assert [(answer.service, answer.region, found) for answer, found in answers] == [
        ("api", region, record),
        ("web", region, record),
    ]
