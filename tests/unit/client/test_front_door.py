"""`from client import …`: what it offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import client

SOURCE = Path(client.__file__)


def names_for_type_checkers() -> set[str]:
    """What the imports under TYPE_CHECKING bind."""
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("name", client.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(client, name).__name__ == name if name != "Event" else client.Event


def test_type_checkers_and_programs_see_the_same_names() -> None:
    assert names_for_type_checkers() == set(client.__all__)
    assert set(client.__all__) <= set(dir(client))
    assert len(client.__all__) == len(set(client.__all__))


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        client.Nothing  # noqa: B018
    with pytest.raises(ImportError):
        exec("from client import Nothing")


def test_every_error_of_the_library_is_offered() -> None:
    errors = {client.SttError}
    for kind in (client.SttError, client.InvalidRequest, client.ServerUnavailable):
        errors |= {below for below in kind.__subclasses__() if not below.__name__.startswith("_")}
    public = {error.__name__ for error in errors if error.__module__ == "client.rpc.errors"}
    assert public <= set(client.__all__)


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("import client", {"numpy", "grpc", "av", "websockets"}),
        ("from client import Credentials", {"numpy", "grpc", "av", "websockets"}),
        ("from client import SttError", {"numpy", "av", "websockets"}),
        ("from client import FileSource, SttClient", {"sounddevice", "torch", "rich"}),
    ],
)
def test_a_name_loads_only_what_it_needs(statement: str, unneeded: set[str]) -> None:
    program = f"{statement}; import sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert not unneeded & set(shown.stdout.split())
