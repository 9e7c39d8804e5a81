# SPDX-License-Identifier: Apache-2.0
"""The man pages: the documentation page that each is made from, with the text before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docs.man.reference import refreshed
from docs.man.roff import to_roff
from geodrop import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Page:
    """One man page. `source` is a file of docs/, `synopsis` one line of Markdown."""

    name: str
    section: int
    source: str
    summary: str
    synopsis: str

    @property
    def file(self) -> str:
        """The file name that man(1) looks for."""
        return f"{self.name}.{self.section}"

    def markdown(self) -> str:
        """Return the source with its generated blocks made from the present code."""
        return refreshed((DOCS / self.source).read_text(encoding="utf-8"))

    def roff(self) -> str:
        """Return the man page as roff; raises ValueError if the source does not begin with its title."""
        title, body = self.markdown().split("\n", 1)
        if not title.startswith("# "):
            raise ValueError(f"docs/{self.source} does not begin with its title")
        others = ", ".join(f"**{page.name}**({page.section})" for page in PAGES if page != self)
        # No date: the same sources give the same bytes, and the version says more.
        head = f'.TH {self.name.upper()} {self.section} "" "geodrop {__version__}" "geodrop"\n.SH NAME\n'
        head += rf"{self.name} \- {self.summary}" + "\n"
        parts = f"## Synopsis\n\n{self.synopsis}\n\n## Description\n\n{body.strip()}\n\n## See also\n\n{others}\n"
        return head + to_roff(parts)


PAGES = (
    Page(
        "geodrop",
        8,
        "commands.md",
        "drop packets from regions a service does not support, in the kernel",
        "`geodrop` `COMMAND` ...",
    ),
    Page("geodrop-policy", 5, "policy.md", "which regions each service accepts", "`/etc/geodrop/policy.yaml`"),
    Page("geodrop-agent", 5, "agent.md", "what one host running geodrop is to do", "`/etc/geodrop/agent.yaml`"),
)


def write(folder: Path) -> Iterator[Path]:
    """Update the sources and write every page into `folder`; yields the path of each written page."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        (DOCS / page.source).write_text(page.markdown(), encoding="utf-8")
        target = folder / page.file
        target.write_text(page.roff(), encoding="utf-8")
        yield target
