# SPDX-License-Identifier: Apache-2.0
"""`make release` refuses a tree that is not what its version says, and writes the notes from CHANGELOG.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.release import changelog, checks
from deploy.release.__main__ import main

ROOT = Path(__file__).parents[1]

TOLD = """# Changelog

Words about the file.

## 0.2.0 (2030-01-02)

### Added

- A thing,
  on two lines.

### Upgrade

Nothing has to be done.

## 0.1.0 (2030-01-01)

### Added

- The first thing.

### Upgrade

- It is the first version.
"""


NOTES = """# geodrop 0.2.0 (2030-01-02)

## Upgrade

Nothing has to be done.

## Added

- A thing,
  on two lines.
"""


class Tree:
    """A small repository that can be released as 0.2.0, after a release of 0.1.0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")
        self.write(checks.SOURCE, '"""geodrop."""\n\n__version__ = "0.1.0"\n')
        self.write(checks.CHANGELOG, TOLD[: TOLD.index("## 0.2.0")] + TOLD[TOLD.index("## 0.1.0") :])
        self.write(checks.PROMISED, "exit 0\nverb check\n")
        self.write(f"{checks.FIXTURES}/intent-1.json", "{}")
        self.write(".gitignore", "build/\n")
        self.commit()
        self.git("tag", "v0.1.0")
        self.write(checks.SOURCE, '"""geodrop."""\n\n__version__ = "0.2.0"\n')
        self.write(checks.CHANGELOG, TOLD)
        self.commit()

    def git(self, *arguments: str) -> None:
        """Run git under a made-up name."""
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(self.folder), *who, *arguments], check=True, capture_output=True)

    def write(self, name: str, content: str) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")

    def problems(self) -> list[str]:
        """Return what keeps it from being released."""
        return list(checks.problems(self.folder))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a tree that can be released."""
    return Tree(tmp_path)


def test_a_good_tree_is_released_with_its_notes(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """The notes are those of this version alone: what has to be done comes first."""
    assert tree.problems() == []
    assert main(tree.folder) == 0
    notes = tree.folder / "build" / "release" / "NOTES.md"
    assert capsys.readouterr().out == f"{notes}\n"
    assert notes.read_text() == NOTES
    assert tree.problems() == [], "the notes do not make the tree unclean"


def test_nothing_is_written_for_a_tree_that_is_refused(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is told at once, with exit code 1."""
    tree.write("new.txt", "x")
    tree.write(checks.CHANGELOG, TOLD.replace("(2030-01-02)", ""))
    assert main(tree.folder) == 1
    said = capsys.readouterr().err
    assert "the tree is not clean (2 files, first " in said
    assert "CHANGELOG.md has no section for 0.2.0" in said
    assert not (tree.folder / "build").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (checks.SOURCE, "0.2.0", "0.2", "no __version__ of three numbers"),
        (checks.SOURCE, "0.2.0", "0.1.0", "v0.1.0 is the tag of another commit"),
        (checks.SOURCE, "0.2.0", "0.0.9", "0.0.9 does not come after v0.1.0"),
        (checks.SOURCE, "0.2.0", "0.3.0", "has no section for 0.3.0; write  ## 0.3.0 (YEAR-MONTH-DAY)"),
        (checks.CHANGELOG, "## 0.2.0 (2030-01-02)", "## 0.2.0", "CHANGELOG.md:5: version 0.2.0 has no date"),
        (checks.CHANGELOG, "### Added\n\n- A thing,", "### News\n\n- A thing,", "under none of Added, Changed"),
        (checks.CHANGELOG, "Nothing has to be done.\n", "", "Upgrade is empty"),
        (checks.CHANGELOG, "### Upgrade\n\nNothing has to be done.\n", "", "what an operator has to do"),
        (checks.CHANGELOG, "## 0.2.0", "## Unreleased\n\n### Fixed\n\n- More.\n\n## 0.2.0", "is not the first section"),
        (checks.CHANGELOG, "### Added\n\n- A thing,\n  on two lines.\n\n", "", "does not say what is new"),
        (f"{checks.FIXTURES}/intent-1.json", "{}", "[]", "intent-1.json differs from that of v0.1.0"),
    ],
)
def test_what_is_refused(tree: Tree, name: str, old: str, new: str, said: str) -> None:
    """Each of these keeps a tree from being released, and the message says where it is."""
    content = (tree.folder / name).read_text()
    assert old in content
    tree.write(name, content.replace(old, new, 1))
    tree.commit()
    assert any(said in problem for problem in tree.problems()), tree.problems()


def test_the_collection_has_the_same_version(tree: Tree) -> None:
    """Wheel, packages and collection have one version."""
    tree.write(checks.COLLECTION, "namespace: geodrop\nversion: 0.1.9\n")
    tree.commit()
    assert tree.problems() == [
        "deploy/ansible/galaxy.yml has version 0.1.9, agent/geodrop/__init__.py 0.2.0; write 0.2.0 in both"
    ]
    tree.write(checks.COLLECTION, "namespace: geodrop\nversion: 0.2.0\n")
    tree.commit()
    assert tree.problems() == []


@pytest.mark.parametrize(
    ("version", "promised", "said"),
    [
        ("0.1.1", "exit 0\n", "1 names that v0.1.0 promised are gone, first: verb check; that takes version 0.2.0"),
        ("0.1.1", "exit 0\nverb check\nverb new\n", "there are new names (verb new); that takes version 0.2.0"),
        ("0.2.0", "exit 0\nverb new\n", ""),
        ("0.1.1", "exit 0\nverb check\n", ""),
    ],
)
def test_the_version_says_what_goes(tree: Tree, version: str, promised: str, said: str) -> None:
    """What scripts rely on goes only with a version that says so."""
    tree.write(checks.SOURCE, f'__version__ = "{version}"\n')
    tree.write(checks.CHANGELOG, TOLD.replace("## 0.2.0", f"## {version}"))
    tree.write(checks.PROMISED, promised)
    tree.commit()
    assert tree.problems() == ([said] if said else [])


def test_a_promise_of_version_one_takes_version_two(tree: Tree) -> None:
    """From 1.0.0 on the first number goes up."""
    tree.write(checks.SOURCE, '__version__ = "1.0.0"\n')
    tree.commit()
    tree.git("tag", "v1.0.0")
    tree.write(checks.SOURCE, '__version__ = "1.1.0"\n')
    tree.write(checks.CHANGELOG, TOLD.replace("## 0.2.0", "## 1.1.0"))
    tree.write(checks.PROMISED, "exit 0\n")
    tree.commit()
    assert [problem.rpartition("; ")[2] for problem in tree.problems()] == ["that takes version 2.0.0"]


def test_this_changelog_can_be_read() -> None:
    """Each section of CHANGELOG.md has the form that `make release` asks for; the one to come needs no date yet."""
    versions = changelog.read((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert versions
    for version in versions.values():
        undated = [] if version.date else [next(version.problems())]
        assert list(version.problems()) == (undated if version.name == changelog.UNRELEASED else [])


def test_the_collection_of_this_tree_has_its_version() -> None:
    """The version is raised in every place at once."""
    assert (checks.version(ROOT).count("."), list(checks.one_version(ROOT))) == (2, [])
