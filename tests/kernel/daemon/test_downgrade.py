# SPDX-License-Identifier: Apache-2.0
"""A state directory that a newer geodrop has written, or one of the format before: what is in force goes on."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from geodrop import formats
from tests.formats import make
from tests.support.daemons import daemon
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kernel.daemon.conftest import Host

NUMBER_AT = 8
"""Where a ruleset file has the number of its format."""


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[Path, bytes]:
    """Change every state file as another version would have written it; return what they hold then."""
    content, before = [], ""
    for line in (folder / "history.jsonl").read_bytes().splitlines():
        linked = json.dumps(change(json.loads(line)) | ({"previous": before} if before else {})).encode()
        before = hashlib.sha256(linked).hexdigest()
        content.append(linked + b"\n")
    (folder / "history.jsonl").write_bytes(b"".join(content))
    for name in ("intent.json", "exemptions.json"):
        (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_bytes()))))
    return {folder / name: (folder / name).read_bytes() for name in ("intent.json", "history.jsonl", "exemptions.json")}


def newer(one: dict[str, Any]) -> dict[str, Any]:
    """Return an object of the next format, in which much is not what this version knows."""
    kept = ("generation", "last_good", "unloaded", "paused", "why", "time", "number", "previous", "exemptions")
    return {"format": one["format"] + 1, "digest": 7, **{name: one[name] for name in kept if name in one}}


def unnumbered(one: dict[str, Any]) -> dict[str, Any]:
    """Return an object of the first format."""
    return {name: value for name, value in one.items() if name != "format"}


def left_alone(files: dict[Path, bytes]) -> bool:
    """Tell whether the files are there as they were; the history may have grown."""
    return all(path.read_bytes().startswith(content) for path, content in files.items())


def generation(host: Host) -> int:
    """Return the number in force."""
    return int(host.geodrop.run("status", "--json").json["generation"])


@pytest.fixture
def used(host: Host) -> Host:
    """Return a host on which a daemon has loaded a policy twice and exempted a source, and has ended."""
    with daemon(host.geodrop) as made:
        host.deny("CN", "RU")
        host.geodrop.good("reload")
        host.geodrop.good("exempt", "2.0.0.7", "--for", "1h", "--why", "TICKET-7")
        made.end()
    return host


def test_the_daemon_adopts_what_is_in_force(used: Host) -> None:
    """The generation stays in force and is repaired, `status` is degraded and says why, and no file is replaced.

    A policy that was never loaded is refused. What needs no file works: a pause, its end, and an unload.
    """
    geodrop, state = used.geodrop, used.folder / "state"
    before, files = generation(used), rewrite(state, newer)
    used.deny("CN", "US")
    with daemon(geodrop) as made:
        assert f"intent.json was written by a newer geodrop, format {formats.INTENT.number + 1}" in made.said[-1]
        assert (used.drops("1.0.0.1"), used.drops("2.0.0.1"), generation(used)) == (True, True, before)
        status = geodrop.run("status", "--json")
        assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
        told = [one for one in status.json["problems"] if "written by a newer geodrop, format " in one]
        assert sorted(one.partition(": ")[0] for one in told) == sorted(map(str, files))
        assert all("; next: " in one for one in told)
        # All else is as it should be.
        assert geodrop.run("verify", "--full").out.splitlines() == [
            "exempt sources: expected those of exemptions.json, found a file that cannot be read"
        ]
        assert geodrop.run("history", "--verify").code == 0
        used.netns.run("nft", "flush", "table", "inet", "geodrop")
        until(lambda: generation(used) > before and used.drops("1.0.0.1"))
        repaired = generation(used)
        refused = {
            ("reload",): "written by a newer geodrop",
            ("rollback",): "written by a newer geodrop",
            ("exempt", "2.0.0.8", "--for", "1h", "--why", "x"): "written by a newer geodrop",
        }
        for command, why in refused.items():
            done = geodrop.run(*command)
            assert (done.code, why in done.err) == (65, True), done
        assert (generation(used), used.drops("2.0.0.1"), left_alone(files)) == (repaired, True, True)
        geodrop.good("pause", "--for", "1h", "--why", "INC-1")
        assert geodrop.run("status", "--json").json["state"] == "paused"
        geodrop.good("resume")
        assert used.drops("1.0.0.1")
        geodrop.good("unload")
        assert "geodrop" not in used.table()
        made.end()
    assert left_alone(files)


def test_a_boot_brings_the_same_verdicts(used: Host) -> None:
    """Of a newer intent the last good ruleset is known; after `unload` nothing is loaded. No file is replaced."""
    state = used.folder / "state"
    digest = used.geodrop.run("status", "--json").json["digest"]
    files = rewrite(state, newer)
    used.netns.run("nft", "flush", "ruleset")
    booted = used.geodrop.run("load", "--boot")
    assert (booted.code, f"ruleset {digest[:12]} in force on lo" in booted.out) == (0, True), booted
    assert "intent.json: written by a newer geodrop" in booted.err
    assert (used.drops("1.0.0.1"), used.drops("2.0.0.1"), left_alone(files)) == (True, True, True)
    rewrite(state, lambda one: one | ({"unloaded": True} if "last_good" in one else {}))
    used.netns.run("nft", "flush", "ruleset")
    assert "unloaded on request" in used.geodrop.run("load", "--boot").out
    assert "geodrop" not in used.table()


def test_without_a_ruleset_first_boot_decides(used: Host) -> None:
    """A daemon that finds neither a generation nor the last good ruleset does what a boot does, and reloads nothing."""
    files = rewrite(used.folder / "state", newer)
    for path in (used.folder / "state" / "rulesets").iterdir():
        path.unlink()
    used.netns.run("nft", "flush", "ruleset")
    used.agent(more="first_boot: closed\n")
    with daemon(used.geodrop):
        status = used.geodrop.run("status", "--json").json
        assert "no policy was ever loaded: nothing new is let in (first_boot: closed)" in status["problems"]
    assert left_alone(files)


def test_going_on_without_the_newer_files(used: Host) -> None:
    """Once the files are moved away, as `status` says, this version writes its own, and all is well again."""
    state = used.folder / "state"
    files = rewrite(state, newer)
    for path in files:
        path.rename(f"{path}.{formats.INTENT.number + 1}")
    with daemon(used.geodrop):
        assert used.geodrop.run("status", "--json").json["state"] == "enforcing"
        assert used.drops("2.0.0.1")
        used.deny("CN")
        used.geodrop.good("reload")
        assert not used.drops("2.0.0.1")


def test_a_newer_ruleset_stays_in_force(used: Host) -> None:
    """It cannot be compared (65), and stays in force until one of this version is loaded in its place."""
    rulesets = list((used.folder / "state" / "rulesets").iterdir())
    for path in rulesets:
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, NUMBER_AT, formats.RULESET.number + 1)
        path.write_bytes(content)
    before, number = {path: path.read_bytes() for path in rulesets}, generation(used)
    assert used.geodrop.run("verify").code == 65
    status = used.geodrop.run("status", "--json")
    assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
    said = f"written by a newer geodrop, format {formats.RULESET.number + 1}"
    assert any(said in one for one in status.json["problems"])
    done = used.geodrop.run("load", str(rulesets[0]))
    assert (done.code, said in done.err) == (65, True)
    assert used.geodrop.run("pause").code == 65
    assert generation(used) == number
    used.agent(source=f"{{ruleset: {rulesets[0]}}}")
    with daemon(used.geodrop) as made:
        assert "degraded" in made.said[-1]
        assert used.geodrop.run("reload").code == 65
        assert generation(used) == number
        assert {path: path.read_bytes() for path in rulesets} == before
        used.agent()
        used.geodrop.good("reload")
        assert used.drops("2.0.0.1")
        until(lambda: used.geodrop.run("status", "--json").json["problems"] == [])


def test_an_upgrade_reads_the_format_before(used: Host) -> None:
    """State files without numbers, and a ruleset of format 2: the same verdicts at once, after a boot and a reload."""
    rewrite(used.folder / "state", unnumbered)
    with daemon(used.geodrop):
        assert used.geodrop.run("status", "--json").json["state"] == "enforcing"
        assert [one["source"] for one in used.geodrop.run("exempt", "--json").json_lines] == ["2.0.0.7/32"]
        used.deny("CN")
        used.geodrop.good("reload")
        used.geodrop.good("rollback")
        assert used.geodrop.good("history", "--verify", "--json").json["good"] is True
    rewrite(used.folder / "state", unnumbered)
    used.netns.run("nft", "flush", "ruleset")
    used.geodrop.good("load", "--boot")
    assert (used.drops("1.0.0.1"), used.drops("2.0.0.1")) == (True, True)


def test_a_newer_ruleset_is_not_booted(used: Host) -> None:
    """The newest one that can be read is booted in its place, and a warning says why; the file stays as it is."""
    [path] = (used.folder / "state" / "rulesets").glob(f"{used.geodrop.run('status', '--json').json['digest']}*")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, NUMBER_AT, formats.RULESET.number + 1)
    path.write_bytes(content)
    used.netns.run("nft", "flush", "ruleset")
    booted = used.geodrop.run("load", "--boot")
    assert f"written by a newer geodrop, format {formats.RULESET.number + 1}" in booted.err
    assert used.drops("1.0.0.1")
    assert path.read_bytes() == content


@pytest.mark.parametrize("number", [formats.RULESET.before, formats.RULESET.number])
def test_rulesets_of_both_formats_are_booted(used: Host, number: int) -> None:
    """A ruleset of the format before is loaded, compared and booted like one of this release."""
    file = used.folder / "old.ruleset"
    file.write_bytes(make.read("ruleset", number))
    used.geodrop.good("load", str(file))
    used.geodrop.good("verify", "--full")
    used.netns.run("nft", "flush", "ruleset")
    used.geodrop.good("load", "--boot")
    used.geodrop.good("verify", "--full")
