# SPDX-License-Identifier: Apache-2.0
import json
import os
import pwd
import time
from pathlib import Path

import pytest

from geodrop.ruleset.container import open_file
from geodrop.ruleset.model import Ruleset
from geodrop.state.intent import Intent
from geodrop.state.store import Store
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.users import open_to_others

GOOD = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [CN]}\n"


def test_good_policy(tmp_path: Path) -> None:
    """A good policy gives a line on stdout; --json prints an object."""
    (tmp_path / "policy.yaml").write_text(GOOD)
    geodrop = Geodrop(tmp_path)
    assert geodrop.good("check", str(tmp_path / "policy.yaml")).out.endswith(
        "policy.yaml: good, 1 line for service api\n"
    )
    answer = geodrop.good("check", "--json", str(tmp_path / "policy.yaml")).json
    assert answer["services"] == ["api"]
    assert answer["schema"] == 1


def test_bad_policy(tmp_path: Path) -> None:
    """Every problem is on stderr with its position; the exit code is 78, and nothing is on stdout."""
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
    write_database(tmp_path / "x.mmdb", {"1.0.0.0/24": country("CN")})
    (tmp_path / "agent.yaml").write_text("source: {policy: mine.yaml, databases: [x.mmdb]}\n")
    out = Geodrop(tmp_path).good("check").out
    assert "mine.yaml: good" in out
    assert "x.mmdb: good, GeoIP2-City, built " in out or "x.mmdb: good, GeoIP2-Country, built " in out
    assert "can read all of it" in out


def test_what_the_first_generation_drops(tmp_path: Path) -> None:
    """Where nothing was ever loaded, no limit would hold what a policy drops, so `check` says what that is."""
    (tmp_path / "policy.yaml").write_text(GOOD)
    write_database(tmp_path / "x.mmdb", {"1.0.0.0/8": country("CN"), "2600::/16": country("US")})
    command = ("check", str(tmp_path / "policy.yaml"), "--database", str(tmp_path / "x.mmdb"))
    out = Geodrop(tmp_path).good(*command).out
    assert "where nothing is in force: api drops CN (0.5% of IPv4), +1 -0 prefixes, api added; no limit holds" in out
    assert Geodrop(tmp_path).good(*command, "--json").json["first"].startswith("api drops CN")
    assert Geodrop(tmp_path).good("check", "--json", str(tmp_path / "policy.yaml")).json["first"] is None


@pytest.mark.parametrize("name", ["none.yaml", "folder"])
def test_policy_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A policy that is missing or no file is bad configuration (78), not a traceback."""
    (tmp_path / "folder").mkdir()
    done = Geodrop(tmp_path).run("check", str(tmp_path / name))
    assert done.code == 78
    assert name in done.err
    assert "Traceback" not in done.err


def test_every_problem_at_once(tmp_path: Path) -> None:
    """Problems of policy, damaged database and missing database are all reported; in JSON too, the first one on top."""
    (tmp_path / "policy.yaml").write_text(GOOD.replace("CN", "ZZ"))
    (tmp_path / "bad.mmdb").write_text("garbage")
    databases = [item for name in ("bad", "none") for item in ("--database", str(tmp_path / f"{name}.mmdb"))]
    done = Geodrop(tmp_path).run("check", str(tmp_path / "policy.yaml"), *databases, "--json")
    assert done.code == 78
    for part in ('"ZZ" is no country', "bad.mmdb: not a MaxMind DB file", "none.mmdb: No such file"):
        assert part in done.err
    found = done.json
    assert found["place"] == f"{tmp_path}/policy.yaml:3:48"
    assert found["error"].endswith('"ZZ" is no country')
    assert found["next_step"].startswith("what databases do not know")
    assert (found["exit"], len(found["problems"])) == (78, 3)


def test_what_only_shows_with_databases(tmp_path: Path) -> None:
    """A subdivision that no database carries is found by check, not only by the reload."""
    write_database(tmp_path / "c.mmdb", {"1.0.0.0/24": country("UA")})
    (tmp_path / "policy.yaml").write_text(GOOD.replace("CN", "UA-43"))
    geodrop = Geodrop(tmp_path)
    geodrop.good("check", str(tmp_path / "policy.yaml"))
    done = geodrop.run("check", str(tmp_path / "policy.yaml"), "--database", str(tmp_path / "c.mmdb"))
    assert (done.code, "no loaded database carries this subdivision" in done.err) == (78, True)


@pytest.mark.parametrize("closed", ["policy.yaml", "x.mmdb", "lists/bad.txt"])
def test_the_user_of_the_daemon_has_to_read_it(tmp_path: Path, closed: str) -> None:
    """Root may read everything, but the daemon is not root: the owner of its state must be able to read, else 77."""
    nobody = pwd.getpwnam("nobody")
    open_to_others(tmp_path)
    (tmp_path / "policy.yaml").write_text(GOOD.replace("CN", "list:bad") + "lists: {bad: {file: lists/bad.txt}}\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bad.txt").write_text("1.2.3.0/24\n")
    write_database(tmp_path / "x.mmdb", {"1.0.0.0/24": country("CN")})
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, nobody.pw_uid, nobody.pw_gid)
    (tmp_path / "agent.yaml").write_text(f"source: {{policy: policy.yaml, databases: [x.mmdb]}}\nstate: {state}\n")
    geodrop = Geodrop(tmp_path)
    assert "the daemon's user nobody can read all of it" in geodrop.good("check").out
    (tmp_path / closed).chmod(0o600)
    done = geodrop.run("check", "--json")
    assert done.code == 77
    assert f"{closed}: user nobody may not read it" in done.err
    assert "namei -l" in done.err
    assert done.json["exit"] == 77
    geodrop.good("check", str(tmp_path / "policy.yaml"))  # a draft need be readable only by its author


def test_agent_yaml_with_a_ruleset(tmp_path: Path) -> None:
    """Its digest and format are checked, as a template's validation needs; a damaged ruleset is 65."""
    write_database(tmp_path / "x.mmdb", {"1.0.0.0/24": country("CN")})
    geodrop = Geodrop(tmp_path)
    ruleset = geodrop.compile(GOOD, tmp_path / "x.mmdb")
    (tmp_path / "agent.yaml").write_text(f"source: {{ruleset: {ruleset}}}\nstate: {tmp_path}/state\n")
    digest = Ruleset.open(ruleset).digest
    assert f"test.ruleset: good, digest {digest[:12]}, for api" in geodrop.good("check").out
    found = geodrop.good("check", "--json").json
    assert (found["digest"], found["services"]) == (digest, ["api"])
    data = bytearray(ruleset.read_bytes())
    data[-1] ^= 1
    ruleset.write_bytes(data)
    done = geodrop.run("check", "--json")
    assert (done.code, done.json["exit"]) == (65, 65)


def test_agent_yaml_itself(tmp_path: Path) -> None:
    """An agent.yaml without a source may be good; each mistake is reported with its position, in JSON too."""
    (tmp_path / "agent.yaml").write_text("engine: nftables\n")
    assert "agent.yaml: good, names no source" in Geodrop(tmp_path).good("check").out
    (tmp_path / "agent.yaml").write_text("engine: fast\nwatch: maybe\n")
    done = Geodrop(tmp_path).run("check", "--json")
    assert done.code == 78
    assert [one["place"] for one in json.loads(done.out)["problems"]] == [
        f"{tmp_path}/agent.yaml:1:9",
        f"{tmp_path}/agent.yaml:2:8",
    ]


def test_a_list_is_compared_with_the_ruleset_asked_for_last(tmp_path: Path) -> None:
    """A list that lost most of its entries gives a warning before it is loaded; without that ruleset there is none."""
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
    assert "bad.txt has 1 of the 100 prefixes that it had in the ruleset asked for last" in said


EXPECTING = "version: 1\nservices:\n  api:\n    default: allow\n    unknown: allow\n    deny: [CN]\n    expect: {}\n"


def expecting(folder: Path, tests: str) -> tuple[Geodrop, str, str]:
    """Write a policy with these tests, and a database; return a command line and their names."""
    (folder / "policy.yaml").write_text(EXPECTING.replace("{}", tests))
    database = write_database(folder / "country.mmdb", {"1.0.0.0/24": country("CN"), "2400::/24": country("CN")})
    return Geodrop(folder), str(folder / "policy.yaml"), str(database)


def test_tests_run_once_there_are_databases(tmp_path: Path) -> None:
    """Without databases check says that the tests were not run, with them that they passed, or which failed (78)."""
    geodrop, policy, database = expecting(tmp_path, "{accept: [8.8.8.8], drop: [1.0.0.0/24]}")
    assert geodrop.good("check", policy).out == (
        f"{policy}: good, 1 line for service api\n"
        f"{policy}: 2 tests under expect not run: they need databases, add --database FILE\n"
    )
    assert geodrop.good("check", "--json", policy).json["tests"] == {"count": 2, "run": False}
    assert f"{policy}: 2 tests under expect passed\n" in geodrop.good("check", policy, "--database", database).out
    assert geodrop.good("check", "--json", policy, "--database", database).json["tests"] == {"count": 2, "run": True}


def test_a_failing_test_is_an_error_with_its_place(tmp_path: Path) -> None:
    """Check, compile and compile -o refuse it with the same words and 78; nothing is written."""
    geodrop, policy, database = expecting(tmp_path, "{accept: [1.0.0.7, 8.8.8.8], region: {8.8.8.8: US}}")
    step = "correct it or drop the test"
    said = [
        f"{policy}:7:23: error: expect accept: 1.0.0.7 would be dropped: CN, deny: CN (policy.yaml:6); {step}",
        f"{policy}:7:51: error: expect region: 8.8.8.8 is unknown, not US; {step}",
    ]
    output = tmp_path / "out.ruleset"
    for arguments in (
        ("check", policy, "--database", database),
        ("compile", "--policy", policy, "--database", database, "-o", str(output)),
    ):
        done = geodrop.run(*arguments)
        assert (done.code, done.out) == (78, "")
        assert [line for line in done.err.splitlines() if ": error: " in line] == said
    assert not output.exists()
    problems = geodrop.run("check", "--json", policy, "--database", database).json["problems"]
    assert [one["place"] for one in problems] == [f"{policy}:7:23", f"{policy}:7:51"]
    assert geodrop.run("check", policy).code == 0, "without databases there is nothing to judge by"


def test_a_guard_asks_the_file_for_its_age(tmp_path: Path) -> None:
    """A list file that was modified too long ago is refused (65); its time is in no byte of the ruleset."""
    geodrop, policy, database = expecting(tmp_path, "{}")
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nlists: {bad: {file: bad.txt, guard: {age: 7d, entries: 2-}}}\n"
        "services: {api: {default: allow, unknown: allow, deny: [list:bad]}}\n"
    )
    (tmp_path / "bad.txt").write_text("8.8.8.8\n9.9.9.9\n")
    digests = set()
    for days in (0, 6):
        os.utime(tmp_path / "bad.txt", (0, time.time() - days * 86_400))
        output = tmp_path / f"{days}.ruleset"
        geodrop.good("compile", "--policy", policy, "--database", database, "-o", str(output))
        digests.add(open_file(output).digest)
    assert len(digests) == 1
    os.utime(tmp_path / "bad.txt", (0, time.time() - 8 * 86_400))
    done = geodrop.run("check", policy)
    assert (done.code, done.out) == (65, "")
    assert f"{tmp_path}/bad.txt:1:1: error: modified 8 d ago, and the guard of list" in done.err
