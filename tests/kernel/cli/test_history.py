# SPDX-License-Identifier: Apache-2.0
"""What the records of real changes prove: who, why, from what to what, for how long, and that nothing was altered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kernel.cli.conftest import Host

LOAD = ("load", "--interface", "lo")


def test_changes_by_hand_are_a_chain(host: Host) -> None:
    """Each change has a reason, what was in force before it, and the hash of the record before; a gap of coverage has
    its cause and reason. A flush that no daemon noticed is a gap from the last record on.
    """
    host.geodrop.good(*LOAD, host.cn, "--why", "CHG-1")
    host.geodrop.good("pause", "--why", "INC-123")
    host.geodrop.good("resume", "--why", "INC-123 is over")
    host.geodrop.good(*LOAD, host.ru)
    host.geodrop.good("rollback", "--why", "CASE-7")
    host.geodrop.good("unload", "--why", "MAINT")
    host.geodrop.good(*LOAD, host.cn)
    entries = host.geodrop.good("history", "--json").json_lines
    told = [(one["origin"], one["previous_generation"], one["generation"], one["why"]) for one in reversed(entries)]
    assert told == [
        ("load", None, 1, "CHG-1"),
        ("pause", 1, 2, "INC-123"),
        ("resume", 2, 3, "INC-123 is over"),
        ("load", 3, 4, None),
        ("rollback", 4, 5, "CASE-7"),
        ("unload", 5, None, "MAINT"),
        ("load", None, 6, None),
    ]
    assert [one["drops"][0]["lines"] if one["drops"] else None for one in reversed(entries)] == [
        ["CN"],
        None,
        None,
        ["RU"],
        ["CN"],
        None,
        ["CN"],
    ]
    cn, ru = host.geodrop.good("history", "--coverage", "--json").json_lines
    assert (cn["line"], ru["line"]) == ("CN", "RU")
    assert [(gap["cause"], gap["why"]) for gap in cn["gaps"]] == [
        ("pause", "INC-123"),
        ("not in the policy", None),
        ("unload", "MAINT"),
    ]
    assert cn["seconds"] > cn["in_force"] > 0
    assert "  pause, " in host.geodrop.good("history", "--coverage").out
    host.netns.nft("delete table inet geodrop")
    [cn, _] = host.geodrop.good("history", "--coverage", "--json").json_lines
    assert (cn["gaps"][-1]["cause"], cn["gaps"][-1]["user"]) == ("nothing loaded", None)


def test_what_was_altered_is_found(host: Host) -> None:
    """--verify is 0 while all is as it was written; then 1, with the line. --head finds what is missing at the end."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good("pause", "--why", "INC-123")
    good = host.geodrop.good("history", "--verify", "--json").json
    assert (good["good"], good["records"], good["number"]) == (True, 2, 2)
    verify = ("history", "--verify", "--head", good["head"])
    assert f"record 2 has the hash {good['head']}" in host.geodrop.good(*verify).out
    path = host.geodrop.folder / "state" / "history.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"load"', b'"boot"'))
    altered = host.geodrop.run(*verify)
    assert (altered.code, altered.out.splitlines()[0]) == (
        1,
        f"{path}:1: altered: the next line names another hash of it",
    )
    path.write_bytes(content.splitlines(keepends=True)[0])
    cut = host.geodrop.run(*verify)
    assert (cut.code, "no record has the hash" in cut.out) == (1, True)
    assert host.geodrop.run("history", "--verify").code == 0
    assert [host.geodrop.run("history", *args).code for args in (["--head", good["head"]], ["--since", "soon"])] == [
        2,
        2,
    ]
    assert host.geodrop.run("history", "--since", "2024-07-09").code == 2
