"""Fixtures that every test may use."""

from collections.abc import Iterator

import hypothesis
import pytest

from tests.support import Recording, Service, load_recordings, run_service

# A busy machine is no bug of ours: pytest-timeout bounds a test, not hypothesis its examples.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def recordings() -> tuple[Recording, ...]:
    """The demo recordings: human digits, with what is said in them."""
    return load_recordings()


@pytest.fixture(scope="session")
def grpc_service() -> Iterator[Service]:
    """A shared stt-serve of eight slots without gateway. Leave no session open on it."""
    with run_service("--no-gateway") as service:
        yield service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A shared stt-serve of eight slots with its gateway. Leave no session open on it."""
    with run_service() as service:
        yield service
