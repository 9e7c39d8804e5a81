"""What the documentation shows works, and what works is documented."""

from __future__ import annotations

import re
from pathlib import Path

from geodrop.config import Config, load_config
from geodrop.policy.parse import load_policy
from geodrop.state.history import ORIGINS

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str) -> list[str]:
    """The YAML examples of a page."""
    return re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_example_policy_is_good() -> None:
    """The policy that the reference shows is accepted, without a warning."""
    [example] = blocks("policy.md")
    policy, warnings = load_policy(example.encode(), "policy.yaml", lambda _: b"198.54.117.0/24\n")
    assert [service.name for service in policy.services] == ["api"]
    assert warnings == []


def test_example_agent_yaml_is_good(tmp_path: Path) -> None:
    """So is agent.yaml, and it shows the defaults."""
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
    """What an operator may find in it is what commands.md lists."""
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    told = re.findall(r"what brought it about \(([a-z, ]+)\)", page)
    assert told == [", ".join(ORIGINS)]


def test_each_word_of_the_glossary_is_there_once() -> None:
    """In the order of the alphabet, each with the file where it lives, and what is in italics has a line of its own."""
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
    """A stranger finds each way by files and names in them, which tests/test_references.py finds to exist."""
    text = (DOCS / "development.md").read_text(encoding="utf-8")
    _, *ways = text.partition("## Four ways")[2].partition("\n## ")[0].split("\n### ")
    assert [way.split()[:2] for way in ways] == [["Where", "a"], ["Where", "a"], ["Where", "a"], ["Where", "an"]]
    for way in ways:
        steps = re.findall(r"^\d\. .+(?:\n   .+)*", way, re.MULTILINE)
        assert steps
        assert not [step for step in steps if not re.search(r"`[\w./]+\.(?:py|h|c):\w", step)]


def test_each_promise_of_security_names_its_tests() -> None:
    """Each row of each table, by whole paths of files that are there and hold tests or the cases of one."""
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
    """A link that says `decision 14`, or just the number, leads to that record, which bears the number itself."""
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for number, target in re.findall(r"\[(?:[Dd]ecision )?(\d+)\]\(([^)]+)\)", text):
            assert Path(target).name.startswith(f"{int(number):04d}-"), f"{page.name}: {number} leads to {target}"
    for record in (DOCS / "decisions").glob("*.md"):
        assert record.read_text(encoding="utf-8").startswith(f"# {int(record.name[:4])}. "), record.name
