from pathlib import Path

import pytest

from tests.cli import Geodrop

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
