"""What the documentation shows works, and what works is documented."""

from __future__ import annotations

import re
from pathlib import Path

from geodrop.config import Config, load_config
from geodrop.policy.parse import load_policy

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
    """Every relative link of the pages and the README names a file."""
    for page in (*DOCS.rglob("*.md"), DOCS.parent / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
