# SPDX-License-Identifier: Apache-2.0
"""The examples in the documentation work, and what operators use is documented."""

from __future__ import annotations

import re
from pathlib import Path

from geodrop.config import Config, load_config
from geodrop.policy.parse import load_policy
from geodrop.state.entry import ORIGINS

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str) -> list[str]:
    """Return the YAML examples of a page."""
    return re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_example_policy_is_good() -> None:
    """The policy in the reference is accepted, without a warning."""
    [example] = blocks("policy.md")
    policy, warnings = load_policy(example.encode(), "policy.yaml", lambda _: b"198.54.117.0/24\n")
    assert [service.name for service in policy.services] == ["api"]
    assert warnings == []


def test_example_agent_yaml_is_good(tmp_path: Path) -> None:
    """The agent.yaml in the reference is accepted, and shows the defaults."""
    [example] = blocks("agent.md")
    (tmp_path / "agent.yaml").write_text(example)
    config = load_config(str(tmp_path / "agent.yaml"))
    for name in ("engine", "loader", "first_boot", "metrics", "keep"):
        assert getattr(config, name) == getattr(Config(), name)


def test_links_lead_somewhere() -> None:
    """Every relative link of a page names a file."""
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_words_of_the_history_are_told() -> None:
    """commands.md lists exactly the events that operators may find in the log."""
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    told = re.findall(r"what brought it about \(([a-z, ]+)\)", page)
    assert told == [", ".join(ORIGINS)]


def test_each_word_of_the_glossary_is_there_once() -> None:
    """Entries are in alphabetical order, each with its file, and each word in italics has an entry."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \| ([^|]+) \| `([^`]+)` \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n|") - 2
    words = [word for word, _, _ in rows]
    assert words == sorted(set(words), key=str.casefold)
    for _, meaning, home in rows:
        assert (DOCS.parent / "agent" / "geodrop" / home).is_file(), home
        for used in re.findall(r"\*([^*]+)\*", meaning):
            assert {used, used.removesuffix("s")} & set(words), used


def test_the_four_ways_name_every_step() -> None:
    """development.md describes each way by files and names in them, which tests/test_references.py finds to exist."""
    text = (DOCS / "development.md").read_text(encoding="utf-8")
    _, *ways = text.partition("## Four ways")[2].partition("\n## ")[0].split("\n### ")
    assert [way.split()[:2] for way in ways] == [["Where", "a"], ["Where", "a"], ["Where", "a"], ["Where", "an"]]
    for way in ways:
        steps = re.findall(r"^\d\. .+(?:\n   .+)*", way, re.MULTILINE)
        assert steps
        assert not [step for step in steps if not re.search(r"`[\w./]+\.(?:py|h|c):\w", step)]


def test_each_promise_of_security_names_its_tests() -> None:
    """Each row of each table names whole paths of existing files that hold tests or test cases."""
    page = (DOCS.parent / "SECURITY.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\|(.+)\|$", page, re.MULTILINE) if not row.startswith("---")]
    headings = [row for row in rows if row.rstrip().endswith("| test")]
    assert len(headings) == len(re.findall(r"^\|---", page, re.MULTILINE))
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)`", row.rpartition("|")[2])
        assert named or row in headings, row
        for path in named:
            content = (DOCS.parent / path).read_text(encoding="utf-8")
            assert "def test_" in content or path.endswith("_cases.py"), path
    for name in re.findall(r"[\w/]*test_\w+\.py", page):
        assert name.startswith("tests/"), f"{name}: write the whole path"


def test_decisions_are_named_by_their_numbers() -> None:
    """A link that says `decision 14`, or just the number, leads to the record with that number."""
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for number, target in re.findall(r"\[(?:[Dd]ecision )?(\d+)\]\(([^)]+)\)", text):
            assert Path(target).name.startswith(f"{int(number):04d}-"), f"{page.name}: {number} leads to {target}"
    for record in (DOCS / "decisions").glob("*.md"):
        assert record.read_text(encoding="utf-8").startswith(f"# {int(record.name[:4])}. "), record.name
