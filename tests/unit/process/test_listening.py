"""One rule for every address at which a server of ours listens."""

import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.process.environment import InvalidSetting
from stt_service.process.listening import (
    CannotListen,
    address_to_connect_to,
    addresses_of,
    find_free,
    is_local_only,
    listen,
    parse_listening_address,
)

BOTH = {"127.0.0.1", "::1"}


def reached(sockets: list[socket.socket]) -> set[str]:
    """At which loopback addresses something answers at the sockets' port."""
    port = sockets[0].getsockname()[1]
    found: set[str] = set()
    for host in BOTH:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as caller:
            if caller.connect_ex((host, port)) == 0:
                found.add(host)
    return found


class TestListen:
    @pytest.mark.parametrize(
        ("host", "answers"),
        [
            ("127.0.0.1", {"127.0.0.1"}),
            ("127.1", {"127.0.0.1"}),
            ("::1", {"::1"}),
            ("::ffff:127.0.0.1", {"127.0.0.1"}),
            ("localhost", BOTH),
            ("stt.localhost", BOTH),
            ("0.0.0.0", BOTH),
            ("::", BOTH),
            ("::ffff:0.0.0.0", BOTH),
        ],
    )
    def test_a_host_is_listened_at_by_all_that_it_means(self, host: str, answers: set[str]):
        with ExitStack() as stack:
            sockets = [stack.enter_context(each) for each in listen(host, 0)]
            assert reached(sockets) == answers
            assert len({each.getsockname()[1] for each in sockets}) == 1
            shown = address_to_connect_to(addresses_of(sockets))
            with socket.create_connection(parse_listening_address(shown)):
                pass
            assert is_local_only(sockets) == (host not in ("0.0.0.0", "::", "::ffff:0.0.0.0"))

    def test_what_is_free_is_the_same_and_can_be_bound(self):
        for address in find_free("localhost", 0):
            host, port = parse_listening_address(address)
            for each in listen(host, port):
                each.close()

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
    def test_a_port_that_is_taken_at_one_address_is_taken(self, host: str):
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(CannotListen, match="another program listens there"),
        ):
            listen(host, taken.getsockname()[1])

    @pytest.mark.parametrize(
        ("host", "reason"),
        [
            ("192.0.2.200", "this machine has no such address"),
            ("2001:db8::1", "this machine has no such address"),
            ("nobody.invalid", "cannot be looked up"),
            ("a..b", "no host name"),
            ("h" * 70, "no host name"),
            ("h\udcff", "no host name"),
            ("*", "cannot be looked up"),
        ],
    )
    def test_the_reason_is_the_true_one(self, host: str, reason: str):
        with pytest.raises(CannotListen, match="cannot listen on") as caught:
            listen(host, 0)
        assert reason in str(caught.value)
        assert "another program" not in str(caught.value)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
    def test_a_port_for_administrators_is_called_so(self):
        program = (
            # The codec of host names is imported from where only root may read.
            "import encodings.idna, os\nfrom stt_service.process.listening import listen\n"
            "os.setuid(65534)\n"
            "try: listen('127.0.0.1', 1)\nexcept OSError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "cannot listen on 127.0.0.1:1: the system does not permit it" in done.stdout
        assert "1024" in done.stdout

    def test_nothing_stays_open_after_a_failure(self):
        with socket.socket(socket.AF_INET6) as taken:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.bind(("::1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(CannotListen):
                listen("localhost", port)
            with socket.socket() as caller:
                assert caller.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("127.0.0.1:50051", ("127.0.0.1", 50051)),
            ("[::1]:0", ("::1", 0)),
            ("[::]:80", ("::", 80)),
            ("LOCALHOST:1", ("localhost", 1)),
            ("a.example:65535", ("a.example", 65535)),
            ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ],
    )
    def test_an_address_is_host_and_port(self, address: str, expected: tuple[str, int]):
        assert parse_listening_address(address) == expected

    @pytest.mark.parametrize(
        "address",
        [
            *("", ":", "50051", ":50051", "host", "host:", "host:x", "host:70000", "host:-1"),
            *("host:+1", "host:1_0", "host:\uff18", "::1:80", "[::1", "[::1]", "[::zz]:80"),
            *("http://host:80", "host:80/", "host:80?x", "host:80#x", "user@host:80"),
        ],
    )
    def test_anything_else_is_one_sentence(self, address: str):
        with pytest.raises(InvalidSetting, match="write HOST:PORT"):
            parse_listening_address(address)

    @given(address=st.text(st.sampled_from("[]:.%@/?#a01 \\\udcff\uff18"), max_size=12))
    def test_whatever_nobody_types_is_an_address_or_a_sentence(self, address: str):
        try:
            host, port = parse_listening_address(address)
        except InvalidSetting as error:
            assert "write HOST:PORT" in str(error)
        else:
            assert host and 0 <= port < 65536
