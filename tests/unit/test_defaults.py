"""Each default is said once: the command lines read it where the program does."""

import ast
from pathlib import Path
from typing import get_args

import pytest

from gateway.command import build_parser
from stt_service.command import make_parser, read_options
from stt_service.config import EngineConfig, ServerConfig
from stt_service.process.address import DEFAULT_HTTP_ADDRESS
from stt_service.process.logs import LogFormat
from stt_service.supervisor import ServeOptions
from tests.pages import ROOT

COMMANDS = ("stt_service/command.py", "gateway/command.py")
PACKAGES = ("stt_service", "client", "gateway")
ADDRESSES = "stt_service/process/address.py"


def test_the_servers_command_line_asks_for_its_configurations_defaults(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("MODEL_NAME", "BATCH_SIZE"):
        monkeypatch.delenv(name, raising=False)
    options = read_options(make_parser().parse_args([]))
    assert options == ServeOptions(EngineConfig(), ServerConfig(), DEFAULT_HTTP_ADDRESS, "text")


@pytest.mark.parametrize("path", COMMANDS)
def test_no_option_has_a_figure_or_an_address_of_its_own(path: str):
    defaults = [
        keyword.value
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "default"
    ]
    assert defaults
    assert [ast.unparse(each) for each in defaults if isinstance(each, ast.Constant)] == []


def test_both_servers_offer_every_log_format():
    for parser in (make_parser(), build_parser()):
        (action,) = (each for each in parser._actions if each.dest == "log_format")
        assert tuple(action.choices or ()) == get_args(LogFormat)


def read_sources() -> list[tuple[str, ast.Module]]:
    paths: list[Path] = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]


def test_one_module_knows_what_this_machine_is_called_and_where_we_listen():
    known = {"localhost", ".localhost", 50051, "127.0.0.1:50051", DEFAULT_HTTP_ADDRESS}
    found = {
        path
        for path, tree in read_sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in known
    }
    # The pool's port is between Modal and its container.
    assert found - {"stt_service/deployment.py", "stt_service/modal_app.py"} == {ADDRESSES}
