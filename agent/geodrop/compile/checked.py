# SPDX-License-Identifier: Apache-2.0
"""What `geodrop check` says of a policy that is good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from geodrop import messages, utc
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.policy.model import Policy
    from geodrop.ruleset.meta import Input

SCHEMA = 1
"""Version of the object of `check --json`."""


def say(policy: Policy, inputs: Sequence[Input], first: str | None, *, as_json: bool) -> None:
    """Print a good policy: lines, or one object.

    `inputs` are the files that were read. `first` says what the policy will drop where nothing is in force; None if
    that is not known.
    """
    names = [service.name for service in policy.services]
    lines = sum(len(service.allow) + len(service.deny) for service in policy.services)
    tests = sum(len(service.expect) for service in policy.services)
    # Without databases nothing was compiled, so no test could be run.
    compiled = any(item.kind == "database" for item in inputs)
    if as_json:
        files = [item.name for item in inputs]
        found = {"schema": SCHEMA, "policy": policy.file, "services": names, "lines": lines, "files": files}
        print(json.dumps({**found, "tests": {"count": tests, "run": compiled}, "first": first}))
        return
    services = f"service{'s' if len(names) > 1 else ''} {', '.join(names)}"
    messages.say(f"{harmless(policy.file)}: good, {lines} line{'' if lines == 1 else 's'} for {services}")
    if tests:
        ran = "passed" if compiled else "not run: they need databases, add --database FILE"
        messages.say(f"{harmless(policy.file)}: {tests:,} test{'' if tests == 1 else 's'} under expect {ran}")
    for one in inputs:
        if one.kind == "database" and one.build_epoch is not None:
            built = utc.day(one.build_epoch)
            roles = f": {', '.join(role.name for role in one.roles)}" if one.roles else ""
            messages.say(f"{one.name}: good, {harmless(one.database_type or '')}, built {built}{roles}")
    if first:
        messages.say(f"where nothing is in force: {harmless(first)}; no limit holds that")
