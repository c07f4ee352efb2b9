"""nginx in the place of Modal's edge: TLS and HTTP/2 in front, HTTP/2 without TLS behind.

401 without the two headers, 429 over the limit of calls at once, 503 while nothing listens behind.
"""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from client.rpc.endpoint import Credentials, Endpoint, Tls

CREDENTIALS = Credentials("wk-test", "ws-test")
WRONG_CREDENTIALS = Credentials("wk-test", "wrong")
START_TIMEOUT_S = 20

# One process in the foreground, so that it needs no user of its own and ends with its parent's
# signal. The headers are for the edge alone, as on Modal.
CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
  uwsgi_temp_path t4; scgi_temp_path t5;
  map "$http_modal_key:$http_modal_secret" $is_known {{
    default 0;
    "{key}:{secret}" 1;
  }}
  limit_conn_zone $server_name zone=calls:1m;
  limit_conn_status 429;
  upstream container {{ server {upstream} max_fails=0; }}
  server {{
    listen 127.0.0.1:{port} ssl http2;
    http2_max_concurrent_streams {most_streams};
    server_name localhost;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    client_max_body_size 0;
    client_body_timeout 1h; grpc_read_timeout 1h; grpc_send_timeout 1h;
    location / {{
      if ($is_known = 0) {{ return 401; }}
      limit_conn calls {most_calls};
      grpc_set_header Modal-Key "";
      grpc_set_header Modal-Secret "";
      grpc_pass grpc://container;
      error_page 502 =503 @cold;
    }}
    location @cold {{ return 503; }}
  }}
}}
"""


@dataclass(frozen=True)
class Edge:
    """A running edge."""

    port: int
    ca_file: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def endpoint(self, credentials: Credentials | None = CREDENTIALS) -> Endpoint:
        """How our clients reach it."""
        return Endpoint("localhost", self.port, Tls(self.ca_file.read_bytes()), credentials)


def find_nginx() -> str | None:
    """The program; Debian keeps it where a user's path does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.asynccontextmanager
async def run_edge(
    folder: Path, upstream: str, most_calls: int = 100, most_streams: int = 128
) -> AsyncIterator[Edge]:
    """Run nginx in front of HOST:PORT while the block runs; its files are in `folder`."""
    program = find_nginx()
    assert program is not None
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "certificate.pem", append=True)
    edge = Edge(free_port(), folder / "ca.pem")
    text = CONFIGURATION.format(
        port=edge.port,
        upstream=upstream,
        most_calls=most_calls,
        most_streams=most_streams,
        key=CREDENTIALS.key,
        secret=CREDENTIALS.secret,
    )
    (folder / "nginx.conf").write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log")
    )
    try:
        await wait_until_it_listens(edge.port, process)
        yield edge
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def wait_until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert process.returncode is None, "nginx ended; its last words are in error.log"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
