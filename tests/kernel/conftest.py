"""Fixtures for tests against the kernel: each test gets network namespaces of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.namespaces import Namespace, namespaces, require

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs root."""
    for item in items:
        if "/tests/kernel/" in str(item.path):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def kernel() -> None:
    """Skip where the kernel cannot be tested; in CI that is a failure, so that nothing goes untested unseen."""
    require()


@pytest.fixture
def netns(kernel: None) -> Iterator[Namespace]:
    """A new network namespace; the test body runs inside it."""
    del kernel
    with namespaces("test") as [namespace], namespace.entered():
        yield namespace
