"""Fixtures that every test may use."""

import os
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests.support import Recording, Service, load_recordings, run_service, write_beginning

# A busy machine is no bug of ours: pytest-timeout bounds a test, not hypothesis its examples.
hypothesis.settings.register_profile("untimed", deadline=None)
# Here every run tries other examples. In CI they are the same ones each time (hypothesis' own
# profile), so that a red build is about its commit.
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "untimed")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Writes a line on the terminal at once: how far a slow test is, and what it has measured."""
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    if terminal is None or request.node.get_closest_marker("slow") is None:
        return lambda line: None

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(line)

    return write


@pytest.fixture(scope="session")
def recordings() -> tuple[Recording, ...]:
    """The demo recordings: human digits, with what is said in them."""
    return load_recordings()


@pytest.fixture(scope="session")
def beginnings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, ...]:
    """Three words of each, some two seconds: for tests of the way that audio and words take."""
    folder = tmp_path_factory.mktemp("beginnings")
    return tuple(write_beginning(recording, folder) for recording in load_recordings())


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A shared stt-serve of eight slots with its gateway. Leave no session open on it."""
    with run_service() as service:
        yield service


@pytest.fixture(scope="session")
def grpc_service(service: Service) -> Service:
    """The same one, for tests that know its gRPC address alone."""
    return service
