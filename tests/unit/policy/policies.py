# SPDX-License-Identifier: Apache-2.0
"""Policies for these tests: a service that is always valid, and short ways to load a text and get its messages."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

from geodrop.errors import ListError, PolicyError
from geodrop.policy.parse import load_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.document.problems import Problem
    from geodrop.policy.model import Policy, Service

FILE = "etc/policy.yaml"

SERVICE = "services: {api: {default: allow, unknown: allow}}\n"
"""The minimum of a policy, besides its version."""


def load(text: str, lists: Mapping[str, bytes] | None = None) -> tuple[Policy, list[Problem]]:
    """Load a policy from a text, with `version: 1` put in front; list files are given by name."""

    def read_list(name: str) -> bytes:
        if lists is None or name not in lists:
            raise FileNotFoundError(2, "No such file or directory")
        return lists[name]

    return load_policy(("version: 1\n" + dedent(text)).encode(), FILE, read_list)


def service(text: str) -> Service:
    """Return the service of a policy with the given keys, one a line, such as `deny: [CN]`."""
    body = "".join(f"    {line}\n" for line in dedent(text).strip().splitlines())
    defaults = "".join(f"    {key}: allow\n" for key in ("default", "unknown") if f"{key}:" not in text)
    policy, _ = load(f"services:\n  api:\n{body}{defaults}")
    return policy.services[0]


def said(text: str, lists: Mapping[str, bytes] | None = None) -> list[str]:
    """Return all messages about a policy, in order, as `line:column: severity: message`, for list files with name."""
    try:
        problems = load(text, lists)[1]
    except (PolicyError, ListError) as error:
        problems = list(error.problems)
    return [f"{problem.place}: {problem.severity}: {problem.message}".removeprefix(f"{FILE}:") for problem in problems]
