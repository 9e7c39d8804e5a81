import os
import subprocess
import sys
from pathlib import Path

import pytest

from geodrop.ruleset.model import Ruleset
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database

POLICY = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [CN]}\n"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Write a database of a small world; return its path."""
    return write_database(tmp_path / "country.mmdb", {"1.0.0.0/24": country("CN"), "2400::/24": country("CN")})


def test_summary_and_file(tmp_path: Path, database: Path) -> None:
    """One line gives the digest and sizes of the ruleset, which other users may read."""
    os.umask(0o022)
    ruleset = Geodrop(tmp_path).compile(POLICY, database)
    assert ruleset.stat().st_mode & 0o777 == 0o644
    out = (
        Geodrop(tmp_path)
        .good("compile", "--policy", str(tmp_path / "test.yaml"), "--database", str(database), "-o", str(ruleset))
        .out
    )
    assert f"ruleset {Ruleset.open(ruleset).digest[:12]}, " in out
    assert "nftables intervals 1 IPv4 and " in out


def test_same_inputs_give_the_same_file(tmp_path: Path, database: Path) -> None:
    """Equal inputs give equal bytes: a fleet compares digests."""
    geodrop = Geodrop(tmp_path)
    assert geodrop.compile(POLICY, database).read_bytes() == geodrop.compile(POLICY, database).read_bytes()


@pytest.mark.parametrize(
    ("policy", "given", "output", "code"),
    [
        (POLICY.replace("CN", "XX"), "country.mmdb", "out", 78),
        (POLICY, "none.mmdb", "out", 65),
        (POLICY, "test.yaml", "out", 65),
        (POLICY, "country.mmdb", "none/out", 65),
    ],
)
@pytest.mark.usefixtures("database")
def test_failure_leaves_the_old_file(tmp_path: Path, policy: str, given: str, output: str, code: int) -> None:
    """After any failure the old ruleset file is still there, with nothing beside it."""
    geodrop = Geodrop(tmp_path)
    geodrop.command()  # this writes agent.yaml
    (tmp_path / "test.yaml").write_text(policy)
    (tmp_path / "out").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    options = ["--policy", "test.yaml", "--database", given, "-o", output]
    done = geodrop.run("compile", *(str(tmp_path / item) if "-" not in item else item for item in options))
    assert done.code == code
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_rulesets_are_imported_while_the_child_starts() -> None:
    """What the command imports before it starts the child makes the whole of it longer."""
    code = "import sys, geodrop.cli.compile; sys.exit('geodrop.ruleset.model' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_are_required(tmp_path: Path) -> None:
    """Without a policy, a database or an output the command line is wrong (2)."""
    assert Geodrop(tmp_path).run("compile", "--policy", "p").code == 2


DRAWN = """
version: 1
lists:
  cloud: {asn: [64496]}
  hidden: {traits: [{vpn: 50}]}
services:
  api: {default: allow, unknown: allow, deny: [CN, "list:cloud", "list:hidden"]}
"""
NETWORKS = {"2.0.0.0/16": {"autonomous_system_number": 64496}}
HIDDEN = {"2.1.0.0/16": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 99}}
PRIVACY = {"2.1.0.0/16": {"vpn": True, "proxy": False}}


def test_databases_of_several_kinds_side_by_side(tmp_path: Path, database: Path) -> None:
    """They are told apart by what they hold, whatever their order; the ruleset names each with its roles."""
    asn = write_database(tmp_path / "asn.mmdb", NETWORKS, database_type="GeoLite2-ASN")
    hidden = write_database(tmp_path / "hidden.mmdb", HIDDEN, database_type="GeoIP-Anonymous-Plus")
    for order in ((asn, hidden, database), (database, asn, hidden)):
        meta = Ruleset.open(Geodrop(tmp_path).compile(DRAWN, *order)).meta
        found = {one.name: (one.database_type, [role.name for role in one.roles]) for one in meta.inputs}
        assert found["asn.mmdb"] == ("GeoLite2-ASN", ["asn"])
        assert found["hidden.mmdb"] == ("GeoIP-Anonymous-Plus", ["traits"])
        assert found["country.mmdb"] == ("GeoIP2-Country", ["country"])
        (role,) = next(one.roles for one in meta.inputs if one.name == "asn.mmdb")
        assert (role.ipv4, role.ipv6_48s) == (1 << 16, 0)


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (
            ("asn",),
            65,
            "asn.mmdb: 'GeoIP2-Country' is a database of networks by number (ASN) and has no countries; add",
        ),
        (("country", "hidden"), 78, 'test.yaml:4:3: error: list "cloud": no loaded database has numbers of networks'),
        (
            ("country", "asn"),
            78,
            'test.yaml:5:22: error: list "hidden": no loaded database says of any address',
        ),
        (("country", "asn", "privacy"), 78, 'list "hidden": privacy.mmdb has no confidence for vpn; write vpn alone'),
    ],
)
@pytest.mark.usefixtures("database")
def test_databases_that_do_not_suffice(tmp_path: Path, given: tuple[str, ...], code: int, said: str) -> None:
    """The message says which database or line, and what to do; the exit code is that of bad data or a bad policy."""
    for name, records in (("asn", NETWORKS), ("hidden", HIDDEN), ("privacy", PRIVACY)):
        write_database(tmp_path / f"{name}.mmdb", records)
    (tmp_path / "test.yaml").write_text(DRAWN)
    options = [item for name in given for item in ("--database", str(tmp_path / f"{name}.mmdb"))]
    output = str(tmp_path / "out")
    done = Geodrop(tmp_path).run("compile", "--policy", str(tmp_path / "test.yaml"), *options, "-o", output)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
