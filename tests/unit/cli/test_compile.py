# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geodrop import utc
from geodrop.ruleset.model import Ruleset
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.signing import SigningKeys

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


def test_signed(tmp_path: Path, database: Path) -> None:
    """`--sign` writes a signature that ssh-keygen verifies beside the file, and says when the ruleset was compiled.

    The same inputs, signed again, give the same two files. A compile without it gives the bytes that it always gave.
    """
    geodrop, keys = Geodrop(tmp_path), SigningKeys(tmp_path / "keys")
    plain = geodrop.compile(POLICY, database).read_bytes()
    inputs = ("--policy", str(tmp_path / "test.yaml"), "--database", str(database))
    output = tmp_path / "signed.ruleset"
    command = ("compile", *inputs, "-o", str(output), "--sign", str(keys.key("alice")))
    out = geodrop.good(*command).out
    made = [path.read_bytes() for path in (output, Path(f"{output}.sig"))]
    meta = Ruleset.open(output).meta
    assert meta.compiled is not None
    assert abs(meta.compiled - time.time()) < 600
    assert f"{output}.sig: signed with {keys.key('alice')}, compiled {utc.moment(meta.compiled)}\n" in out
    assert {path.stat().st_mode & 0o777 for path in (output, Path(f"{output}.sig"))} == {0o666 & ~umask()}
    verify = ["ssh-keygen", "-Y", "verify", "-n", "ruleset@geodrop", "-I", "alice@example.com"]
    files = ["-f", str(keys.trust("alice")), "-s", f"{output}.sig"]
    subprocess.run([*verify, *files], check=True, input=made[0], stdout=subprocess.DEVNULL)
    while int(time.time()) <= meta.compiled:
        time.sleep(0.1)
    geodrop.good(*command)
    assert [path.read_bytes() for path in (output, Path(f"{output}.sig"))] == made
    assert geodrop.compile(POLICY, database).read_bytes() == plain != made[0]


def umask() -> int:
    """Return the umask of this process."""
    found = os.umask(0)
    os.umask(found)
    return found


def test_a_key_that_cannot_sign(tmp_path: Path, database: Path) -> None:
    """Nothing is written: the old file and its signature stay, and nothing lies beside them."""
    geodrop = Geodrop(tmp_path)
    geodrop.command()
    (tmp_path / "test.yaml").write_text(POLICY)
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "out.sig").write_bytes(b"old too")
    before = sorted(tmp_path.iterdir())
    inputs = ("--policy", str(tmp_path / "test.yaml"), "--database", str(database))
    done = geodrop.run("compile", *inputs, "-o", str(tmp_path / "out"), "--sign", str(tmp_path / "none"))
    assert done.code == 65
    assert "ssh-keygen could not sign with it, and nothing was written; name a private key" in done.err
    assert sorted(tmp_path.iterdir()) == before
    assert [(tmp_path / name).read_bytes() for name in ("out", "out.sig")] == [b"old", b"old too"]


def test_a_signature_that_cannot_be_written(tmp_path: Path, database: Path) -> None:
    """The file stays as it was: a ruleset without its signature would only be refused."""
    geodrop, keys = Geodrop(tmp_path), SigningKeys(tmp_path / "keys")
    output = geodrop.compile(POLICY, database)
    before = output.read_bytes()
    Path(f"{output}.sig").mkdir()
    inputs = ("--policy", str(tmp_path / "test.yaml"), "--database", str(database))
    done = geodrop.run("compile", *inputs, "-o", str(output), "--sign", str(keys.key("alice")))
    assert done.code == 65
    assert f"{output}.sig: Is a directory" in done.err
    assert output.read_bytes() == before


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
