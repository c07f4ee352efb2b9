"""Starting a server that does not start."""

import pytest

from client.demo.local_server import LocalServerError, run_local_server


async def test_a_server_that_ends_says_what_it_said() -> None:
    with pytest.raises(LocalServerError, match="did not start") as caught:
        async with run_local_server(["--model", "digits", "--no-such-option"]):
            pytest.fail("it cannot be ready")
    assert "--no-such-option" in str(caught.value)
