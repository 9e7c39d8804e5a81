# SPDX-License-Identifier: Apache-2.0
"""The hosts that packages are built for: releases with the Python that each brings, and processors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a distribution. `python` is its only python3, `glibc` the second number of its glibc 2.x."""

    name: str
    codename: str
    python: str
    glibc: int

    @property
    def next_python(self) -> str:
        """The first version of Python that compiled modules for `python` do not fit."""
        major, minor = self.python.split(".")
        return f"{major}.{int(minor) + 1}"


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor: dpkg's name for it, that of wheels, and the number in ELF files (e_machine in elf(5))."""

    debian: str
    wheel: str
    elf: int


@dataclass(frozen=True, slots=True)
class Target:
    """One package: a release on a processor."""

    release: Release
    processor: Processor

    def __str__(self) -> str:
        return f"{self.release.name}_{self.processor.debian}"

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there (PEP 600), the newest first."""
        tags = [f"manylinux_2_{minor}_{self.processor.wheel}" for minor in range(self.release.glibc, 16, -1)]
        return [*tags, f"manylinux2014_{self.processor.wheel}"]


RELEASES = (
    Release("deb12", "bookworm", "3.11", 36),
    Release("deb13", "trixie", "3.13", 41),
    Release("ubuntu24.04", "noble", "3.12", 39),
)
PROCESSORS = (Processor("amd64", "x86_64", 62), Processor("arm64", "aarch64", 183))
TARGETS = tuple(Target(release, processor) for release in RELEASES for processor in PROCESSORS)
BPF = 247
"""e_machine of the XDP program, which each processor's kernel compiles for itself."""
