"""The gateway with keys: every path, each place for a key, and what is passed on."""

import contextlib
import json
from urllib.parse import quote

import httpx
import pytest
import websockets
from websockets.exceptions import InvalidStatus

from client.rpc.endpoint import Credentials, Endpoint
from gateway.protocols import DOORS
from gateway.protocols.documented import cut_close_text
from gateway.server import WEB_FOLDER
from gateway.upstream import Upstream
from tests.integration.gateway.harness import run_gateway
from tests.integration.keys.keyed import (
    ALICE,
    BOB,
    CAROL,
    MARK,
    WAYS,
    WRONG,
    Headers,
    Keyed,
    basic,
    bearer,
    modal,
    open_session,
)
from tests.interleaving import become

OPEN = ("/healthz", "/readyz")
PATHS = (
    "/",
    "/metrics",
    "/v1/info",
    "/v1/stream",
    "/nothing",
    "/healthz/",
    "//healthz",
    "/healthz/../metrics",
    "/%2e/v1/info",
    *(f"/{path.relative_to(WEB_FOLDER)}" for path in sorted(WEB_FOLDER.rglob("*.*"))),
    *(path for door in DOORS for path in door.paths),
)
QUERY = "/v1/stream?events=ready"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture
def url(keyed: Keyed) -> str:
    return f"http://{keyed.service.http}"


def connect(keyed: Keyed, path: str = "/v1/stream", headers: Headers = (), **options):
    address = f"ws://{keyed.service.http}{path}"
    return websockets.connect(address, additional_headers=headers, proxy=None, **options)


async def refusal(connecting: websockets.connect) -> int:
    """The HTTP status that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as refused:
        async with connecting:
            pass
    return refused.value.response.status_code


def test_every_path_by_every_method_needs_a_key_but_health(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in PATHS:
            for method in METHODS:
                answer = client.request(method, path)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
                assert answer.headers["Content-Security-Policy"]
                assert answer.text in (
                    "",
                    "A key is needed here. Send its name and secret as the "
                    "headers Modal-Key and Modal-Secret, or KEY:SECRET as Authorization: Bearer.\n",
                )
        for path in OPEN:
            assert client.get(path).status_code == 200
            assert set(client.get(path).json()) == {"status"}


@pytest.mark.parametrize("headers", WRONG, ids=str)
async def test_what_is_no_key_opens_nothing(keyed: Keyed, url: str, headers: Headers) -> None:
    assert await refusal(connect(keyed, headers=headers)) == 401
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/", headers=headers)).status_code == 401


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_to_present_a_key_opens(keyed: Keyed, url: str, way) -> None:
    async with connect(keyed, "/v1/stream?events=ready,final", way(ALICE)) as websocket:
        assert json.loads(await websocket.recv())["type"] == "ready"
        await websocket.send('{"type": "end"}')
        assert json.loads(await websocket.recv())["type"] == "final"
    headers = dict(way(ALICE))
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        assert (await client.get("/")).status_code == 200
        assert "stt_gateway_" in (await client.get("/metrics")).text
        assert (await client.get("/v1/info")).json()["slots_total"] == 8


def present(door, key: tuple[str, str]) -> tuple[str, Headers, list[str] | None]:
    """Path, headers and subprotocols of a client of a protocol, with its key where they put it."""
    token, places, path = ":".join(key), door.key_places, door.paths[0]
    if places.parameter is not None:
        return f"{path}?{places.parameter}={quote(token)}", (), None
    if places.header is not None:
        return path, ((places.header, token),), None
    return path, (), [f"{places.subprotocol_prefix}{key[1]}", *door.subprotocols]


@pytest.mark.parametrize(
    "door", [d for d in DOORS if d.key_places != type(d.key_places)()], ids=lambda door: door.name
)
async def test_the_other_protocols_own_places_are_looked_at(keyed: Keyed, door) -> None:
    path, headers, subprotocols = present(door, CAROL)
    assert await refusal(connect(keyed, path, headers, subprotocols=subprotocols)) == 401
    path, headers, subprotocols = present(door, ALICE)
    # 404 while the gateway does not serve it: the key is right.
    with contextlib.suppress(InvalidStatus):
        async with connect(keyed, path, headers, subprotocols=subprotocols):
            return
    assert await refusal(connect(keyed, path, headers, subprotocols=subprotocols)) == 404


async def test_a_page_of_another_site_cannot_use_what_the_browser_knows(keyed: Keyed) -> None:
    origin = websockets.Origin("https://evil.example")
    assert await refusal(connect(keyed, headers=basic(ALICE), origin=origin)) == 403
    own = websockets.Origin(f"http://{keyed.service.http}")
    async with connect(keyed, headers=basic(ALICE), origin=own):
        pass


async def test_a_keys_limits_hold_over_both_protocols_together(keyed: Keyed, channel) -> None:
    async with open_session(channel, modal(BOB)), connect(keyed, QUERY, bearer(BOB)) as websocket:
        error = json.loads(await websocket.recv())
        assert (error["type"], error["reason"]) == ("error", "TOO_MANY_SESSIONS")
        with pytest.raises(websockets.ConnectionClosed):
            await websocket.recv()
        assert websocket.close_code == 1013


# --- gateways in this process -----------------------------------------------------------------


async def test_a_gateway_without_keys_passes_its_callers_on(keyed: Keyed) -> None:
    async with run_gateway(Endpoint.parse(keyed.service.grpc)) as gateway:
        async with gateway.connect("?events=ready", additional_headers=bearer(ALICE)) as websocket:
            assert json.loads(await websocket.recv())["type"] == "ready"
        for headers in ((), bearer(CAROL), (("authorization", "Bearer caf\xe9"),)):
            async with gateway.connect("?events=ready", additional_headers=headers) as websocket:
                error = json.loads(await websocket.recv())
                assert (error["type"], error["reason"]) == ("error", "UNAUTHENTICATED")
                with pytest.raises(websockets.ConnectionClosed):
                    await websocket.recv()
                assert websocket.close_code == 1008
                assert websocket.close_reason == cut_close_text(error["message"])
        assert (await gateway.get("/v1/info")).status_code == 401
        async with httpx.AsyncClient(trust_env=False, headers=basic(ALICE)) as client:
            assert (await client.get(f"http://{gateway.http}/v1/info")).status_code == 200


async def test_a_gateways_own_credentials_go_before_its_callers(keyed: Keyed) -> None:
    own = Endpoint.parse(keyed.service.grpc, Credentials(*CAROL))
    async with (
        run_gateway(own) as gateway,
        gateway.connect("?events=ready", additional_headers=bearer(ALICE)) as websocket,
    ):
        error = json.loads(await websocket.recv())
        assert error["reason"] == "UPSTREAM_REFUSED"
        assert MARK not in error["message"]


async def test_a_callers_key_does_not_travel_where_others_could_read_it() -> None:
    upstream = Upstream(Endpoint.parse("192.0.2.1:50051"))
    assert not upstream.passes_keys_on
    await upstream.close()
    upstream = Upstream(Endpoint.parse("https://192.0.2.1:50051"))
    assert upstream.passes_keys_on
    await upstream.close()


HOST = "speech.example.com"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HOST, 200),
        (f"{HOST}:8000", 200),
        (HOST.upper(), 200),
        ("localhost:8000", 200),
        ("10.1.2.3", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        (f"evil.{HOST}", 421),
        (f"{HOST}.evil.example", 421),
        ("evil.example:8000", 421),
        ("", 421),
        ("a b", 421),
    ],
)
async def test_a_name_that_was_not_allowed_is_answered_nothing(host: str, status: int) -> None:
    nowhere = Endpoint.parse("127.0.0.1:1")
    async with (
        run_gateway(nowhere, allow_hosts=frozenset({HOST})) as gateway,
        httpx.AsyncClient(base_url=f"http://{gateway.http}", trust_env=False) as client,
    ):
        answer = await client.get("/", headers={"Host": host})
        assert answer.status_code == status
        # Whoever probes for health knows a number and no name.
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_name_that_was_rebound_opens_no_websocket() -> None:
    nowhere = Endpoint.parse("127.0.0.1:1")
    async with run_gateway(nowhere, allow_hosts=frozenset({HOST})) as gateway:
        port = gateway.http.rpartition(":")[2]
        for host, status in ((f"evil.example:{port}", 421), (f"{HOST}:{port}", None)):
            connecting = websockets.connect(
                f"ws://{host}/v1/stream",
                host="127.0.0.1",
                port=int(port),
                origin=websockets.Origin(f"http://{host}"),
                proxy=None,
            )
            if status is not None:
                assert await refusal(connecting) == status
            else:
                async with connecting:
                    pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    ("proxies", "client"),
    [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9"), (("10.0.0.0/8",), "127.0.0.1")],
)
async def test_a_forwarded_address_is_believed_only_of_a_named_proxy(
    proxies: tuple[str, ...], client: str, host: str, caplog
) -> None:
    caplog.set_level("INFO")
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    async with (
        run_gateway(Endpoint.parse("127.0.0.1:1"), host=host, trusted_proxies=proxies) as gateway,
        gateway.connect(additional_headers=forwarded),
    ):
        await become(lambda: "session opened" in caplog.text, lambda: caplog.text)
    (opened,) = [r.msg for r in caplog.records if "session opened" in str(r.msg)]
    assert opened["client"] == client
