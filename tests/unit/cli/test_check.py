from pathlib import Path

import pytest

from geodrop.ruleset.container import open_file
from geodrop.state.store import Intent, Store
from tests.cli import Geodrop
from tests.databases import country, write_database

GOOD = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [CN]}\n"


def test_good_policy(tmp_path: Path) -> None:
    """A line on stdout says so; --json says it for programs."""
    (tmp_path / "policy.yaml").write_text(GOOD)
    geodrop = Geodrop(tmp_path)
    assert geodrop.good("check", str(tmp_path / "policy.yaml")).out.endswith(
        "policy.yaml: good, 1 line for service api\n"
    )
    answer = geodrop.good("check", "--json", str(tmp_path / "policy.yaml")).json
    assert answer["services"] == ["api"]
    assert answer["schema"] == 1


def test_bad_policy(tmp_path: Path) -> None:
    """Every problem is on stderr with its place; the exit code is 78, and nothing is on stdout."""
    (tmp_path / "policy.yaml").write_text(GOOD.replace("CN", "ZZ, UK").replace("allow,", "maybe,", 1))
    done = Geodrop(tmp_path).run("check", str(tmp_path / "policy.yaml"))
    assert done.code == 78
    assert done.out == ""
    places = [line.split(": error:")[0] for line in done.err.splitlines() if ": error:" in line]
    assert len(places) == 3
    assert all(place.startswith(f"{tmp_path}/policy.yaml:3:") for place in places)


def test_policy_of_agent_yaml(tmp_path: Path) -> None:
    """Without a name, the policy that agent.yaml names is checked."""
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "agent.yaml").write_text("source: {policy: mine.yaml, databases: [x.mmdb]}\n")
    assert "mine.yaml: good" in Geodrop(tmp_path).good("check").out


@pytest.mark.parametrize("name", ["none.yaml", "folder"])
def test_policy_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A policy that is missing or no file is bad configuration (78), not a traceback."""
    (tmp_path / "folder").mkdir()
    done = Geodrop(tmp_path).run("check", str(tmp_path / name))
    assert done.code == 78
    assert name in done.err
    assert "Traceback" not in done.err


def test_a_list_is_compared_with_the_ruleset_asked_for_last(tmp_path: Path) -> None:
    """A feed that lost most of its lines is warned of before it is loaded; without that ruleset nothing is."""
    (tmp_path / "policy.yaml").write_text(GOOD.replace("[CN]", "[list:bad]") + "lists: {bad: {file: bad.txt}}\n")
    (tmp_path / "bad.txt").write_text("".join(f"8.8.{number}.0/25\n" for number in range(100)))
    database = write_database(tmp_path / "x.mmdb", {"1.0.0.0/24": country("CN"), "2400::/24": country("CN")})
    geodrop = Geodrop(tmp_path)
    policy = str(tmp_path / "policy.yaml")
    geodrop.good("compile", "--policy", policy, "--database", str(database), "-o", str(tmp_path / "r"))
    (tmp_path / "bad.txt").write_text("8.8.8.0/24\n")
    assert "warning" not in geodrop.good("check", policy).err
    store = Store(tmp_path / "state")
    file = open_file(tmp_path / "r")
    store.keep(file)
    store.remember(Intent(1, file.digest, last_good=file.digest))
    said = geodrop.good("check", policy).err
    assert "bad.txt has 1 of the 100 prefixes that the ruleset asked for last had of it" in said
