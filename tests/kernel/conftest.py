"""Fixtures for tests against the kernel: each test gets network namespaces of its own."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import pytest

from tests.namespaces import Namespace, missing, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

_why_not = functools.cache(missing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs root."""
    for item in items:
        if "/tests/kernel/" in str(item.path):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def kernel() -> None:
    """Skip where the kernel cannot be tested; in CI that is a failure, so that nothing goes untested unseen."""
    if reason := _why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test the kernel: {reason}")
        pytest.skip(reason)


@pytest.fixture
def netns(kernel: None) -> Iterator[Namespace]:
    """A new network namespace; the test body runs inside it."""
    del kernel
    with namespaces("test") as [namespace], namespace.entered():
        yield namespace
