"""Every test in this folder is marked: its service is the real one, and time is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.released import Clients
from tests.conformance.speech import Speech, make_speech
from tests.support import Recording

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="session")
def speech(beginnings: tuple[Recording, ...], tmp_path_factory: pytest.TempPathFactory) -> Speech:
    return make_speech(beginnings[:2], tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    """Other people's clients, in processes that last as long as the tests."""
    clients = Clients()
    yield clients
    clients.end()
