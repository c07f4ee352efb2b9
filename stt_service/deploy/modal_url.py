"""stt-modal-url: where a deployed app is, and a grpcurl line to paste."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from stt_service.deploy.deployment import DEFAULTS, GATEWAY_NAME, POOL_NAME, STREAM_PATH
from stt_service.process.arguments import Parser
from stt_service.process.environment import InvalidSetting, read_variable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

EXPLANATION = """\
Both addresses want the headers Modal-Key and Modal-Secret: a proxy auth token of the workspace,
exported as MODAL_KEY and MODAL_SECRET. They are what Modal says: where WORKSPACE--APP-… would be
longer than 63 characters, the host is a shorter one that ends in a hash.
exit codes: 0 found, 1 not found or Modal cannot be asked, 2 wrong usage.
"""


class NotFound(Exception):
    """The app cannot be found; the message says what to do."""


@dataclass(frozen=True)
class Addresses:
    """Where a deployed app is: https URLs without a path."""

    gateway: str
    pool: str

    @property
    def websocket(self) -> str:
        """The address for WebSocket clients."""
        return f"wss://{urlsplit(self.gateway).netloc}{STREAM_PATH}"

    @property
    def grpcurl(self) -> str:
        """A command for a shell that has the credentials in its environment."""
        return (
            'grpcurl -H "modal-key: $MODAL_KEY" -H "modal-secret: $MODAL_SECRET" '
            f"{urlsplit(self.pool).netloc}:443 stt.v1.SpeechToTextService/GetServerInfo"
        )


def find_addresses(app_name: str) -> Addresses:
    """Ask Modal. Raises NotFound."""
    try:
        import modal
    except ModuleNotFoundError as error:
        raise NotFound(
            "modal is not installed; run `uv run --extra modal stt-modal-url`"
        ) from error
    try:
        pool_url = modal.Server.from_name(app_name, POOL_NAME).get_url()
        gateway: Any = modal.Cls.from_name(app_name, GATEWAY_NAME)()
        gateway_url: str | None = gateway.serve.get_web_url()
    except modal.exception.NotFoundError as error:
        raise NotFound(
            f"no deployed app {app_name!r} in this workspace ({_on_one_line(error)}); deploy it "
            "with `uvx modal deploy stt_service/modal_app.py`"
        ) from error
    except modal.exception.AuthError as error:
        raise NotFound(f"Modal refused: {_on_one_line(error)}; run `uvx modal setup`") from error
    except modal.exception.ConnectionError as error:
        raise NotFound(f"Modal cannot be reached: {_on_one_line(error)}") from error
    except modal.exception.Error as error:
        raise NotFound(f"Modal answered: {_on_one_line(error)}") from error
    if not pool_url or not gateway_url:
        raise NotFound(f"the app {app_name!r} has no addresses; deploy it again")
    return Addresses(gateway_url, pool_url)


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the addresses; the exit status."""
    try:
        default = read_variable(os.environ, "KYUTAI_APP_NAME", DEFAULTS["KYUTAI_APP_NAME"])
    except InvalidSetting as error:
        print(f"stt-modal-url: {error}", file=sys.stderr)
        return EXIT_USAGE
    description = "Print the addresses of the service on Modal."
    parser = Parser("stt-modal-url", description, EXPLANATION)
    parser.add_argument(
        "--app",
        default=default,
        metavar="NAME",
        help=f"the app's name (default: KYUTAI_APP_NAME, else {DEFAULTS['KYUTAI_APP_NAME']})",
    )
    parser.add_argument(
        "--json", action="store_true", help="print app, websocket and grpc as JSON, for programs"
    )
    arguments = parser.parse_args(argv)
    try:
        addresses = find_addresses(arguments.app)
    except NotFound as error:
        print(f"stt-modal-url: {error}", file=sys.stderr)
        return EXIT_FAILED
    if arguments.json:
        found = {"websocket": addresses.websocket, "grpc": addresses.pool}
        print(json.dumps({"app": arguments.app, **found}))
    else:
        print(f"WebSocket  {addresses.websocket}")
        print(f"gRPC       {addresses.pool}")
        print(f"try it     {addresses.grpcurl}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
