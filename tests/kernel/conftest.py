# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests against the kernel: each test gets its own network namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.emulated import is_emulated
from tests.support.namespaces import Namespace, namespaces, require

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder as needing root."""
    for item in items:
        if "/tests/kernel/" in str(item.path):
            item.add_marker(pytest.mark.root)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests for the emulated machine everywhere else: some of them set the clock."""
    if item.get_closest_marker("emulated") and not is_emulated():
        pytest.fail("this test needs an emulated machine: make test-kernels")


@pytest.fixture
def kernel() -> None:
    """Skip where the kernel cannot be tested; in CI that is a failure, so that no gap goes unseen."""
    require()


@pytest.fixture
def netns(kernel: None) -> Iterator[Namespace]:
    """A new network namespace; the test body runs inside it."""
    del kernel
    with namespaces("test") as [namespace], namespace.entered():
        yield namespace
