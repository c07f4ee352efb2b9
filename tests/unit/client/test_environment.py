"""The variables of the commands: whose service, and with which token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.command.environment import Environment, to_slug
from client.rpc.endpoint import Credentials

SUFFIX = "--kyutai-stt-rust-kyutaisttrustservice-serve.modal.run/v1/stream"


def test_the_documented_environment() -> None:
    environment = Environment.read(
        {"MODAL_WORKSPACE": "acme", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-2"}
    )

    assert environment.websocket_url == f"wss://acme{SUFFIX}"
    assert environment.credentials == Credentials("wk-1", "ws-2")


@pytest.mark.parametrize("variables", [{}, {"MODAL_WORKSPACE": ""}, {"MODAL_WORKSPACE": " \n"}])
def test_nothing_at_all(variables: dict[str, str]) -> None:
    environment = Environment.read(variables)
    assert environment == Environment()
    assert environment.websocket_url is None


@pytest.mark.parametrize(("present", "missing"), [("KEY", "SECRET"), ("SECRET", "KEY")])
def test_half_a_token_is_an_error(present: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"MODAL_{missing} is not set"):
        Environment.read({f"MODAL_{present}": "x"})


@pytest.mark.parametrize(
    ("name", "slug"),
    [("ECorp", "ecorp"), ("text_to_speech", "text-to-speech"), ("a", "a"), ("7up", "7up")],
)
def test_a_name_is_written_as_modal_writes_it(name: str, slug: str) -> None:
    assert Environment(name).websocket_url == f"wss://{slug}{SUFFIX}"


@given(length=st.integers(1, 63))
def test_an_address_is_composed_exactly_where_it_exists(length: int) -> None:
    """A label has 63 characters at most; Modal puts a hash into a longer one."""
    environment = Environment("w" * length)
    if length <= 19:
        assert environment.websocket_url == f"wss://{'w' * length}{SUFFIX}"
        return
    with pytest.raises(ValueError, match=r"longer than 19 characters.*stt-modal-url.*--url"):
        _ = environment.websocket_url


@pytest.mark.parametrize(
    "name", ["my team", "a.b", "acme/", "https://acme.modal.run", "-a", "a-", "ümlaut", "a\u2013b"]
)
def test_what_cannot_be_a_workspace_is_said_in_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=r"MODAL_WORKSPACE .* is no name of a Modal workspace"):
        to_slug(name)
