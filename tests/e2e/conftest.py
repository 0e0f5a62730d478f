"""One stack of real processes for all tests of a worker; each test creates its own pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.stack import Stack, running


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A section's end is trusted for longer than these tests take under load; a restart of the
    # daemon is what ends the trust.
    with running(tmp_path_factory.mktemp("stack"), CLIPPERD_ANCHOR_TRUST_S="60") as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The worker's stack, at rest before and after."""
    yield shared_stack
    shared_stack.notion.behave()
    shared_stack.client.queue("resume")
    shared_stack.drained()
