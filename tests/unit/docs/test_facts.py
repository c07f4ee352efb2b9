"""The pages' lists are complete: options, metrics, exit codes, and JSON that is JSON."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from client.rpc.errors import error_from_reason
from client.rpc.reasons import Reason
from gateway.closing import CloseCode, close_for_error, close_for_violation
from gateway.metrics import GatewayMetrics
from stt.v1 import stt_pb2
from stt_service.metrics import Metrics
from tests.pages import ROOT, find_pages, find_spans, read_blocks, read_prose
from tests.unit.docs.reading import read_command_line

OPERATIONS = ROOT / "docs" / "operations.md"
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def find_options(program: str) -> set[str]:
    """The long options of a program, without those that every program has."""
    listed = read_command_line(SCRIPTS[program]).stdout.split()
    return {option for option in listed if option.startswith("--")} - {"--help", "--version"}


@pytest.mark.parametrize("program", ["stt-serve", "stt-gateway"])
def test_operations_lists_every_option(program: str) -> None:
    listed = set(re.findall(r"^\| (`--.*?) \|", OPERATIONS.read_text(), re.MULTILINE))
    names = {name for cell in listed for name in re.findall(r"`(--[\w-]+)`", cell)}
    options = find_options(program)
    assert options
    assert options <= names


def test_every_option_on_a_page_exists() -> None:
    known = set().union(*map(find_options, SCRIPTS))
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for span in find_spans(page):
            if re.match(r"--[a-z]", span):
                assert span.split()[0] in known, f"{page.name}: no program has {span}"


def test_operations_lists_every_metric() -> None:
    listed = set(re.findall(r"`(stt_\w+?)(?:\{[\w,]+\})?`", read_prose(OPERATIONS)))
    existing = set(name_series(Metrics().registry)) | set(name_series(GatewayMetrics().registry))
    assert listed == existing


def name_series(registry: CollectorRegistry) -> Iterable[str]:
    """The names as a scrape has them: counters with `_total`, facts with `_info`."""
    suffixes = {"counter": "_total", "info": "_info"}
    for family in registry.collect():
        if family.name.startswith("stt_"):
            yield family.name + suffixes.get(family.type, "")


def test_the_client_page_lists_every_exit_code() -> None:
    exit_codes = vars(importlib.import_module("client.command.exit_codes"))
    existing = {value for value in exit_codes.values() if type(value) is int}
    prose = read_prose(ROOT / "docs" / "client.md")
    assert existing <= {int(code) for code in re.findall(r"^\| (\d+) \|", prose, re.MULTILINE)}


def test_the_client_page_draws_the_tree_of_errors() -> None:
    errors = importlib.import_module("client.rpc.errors")
    (tree,) = [block.text for block in read_blocks("") if block.text.startswith("SttError\n")]
    drawn = re.findall(r"^[\W_]*(\w+)", tree, re.MULTILINE)
    assert set(re.findall(r"^class ([A-Z]\w+)", Path(errors.__file__).read_text(), re.M)) <= set(
        drawn
    )


def test_the_grpc_page_names_every_value_of_the_contract() -> None:
    prose = read_prose(ROOT / "docs" / "grpc.md").lower()
    for enum in stt_pb2.DESCRIPTOR.enum_types_by_name.values():
        prefix = f"{re.sub('(?<!^)(?=[A-Z])', '_', enum.name)}_".lower()
        for name in [value.name.lower() for value in enum.values if value.number > 0]:
            assert re.search(rf"\b({name}|{name.removeprefix(prefix)})\b", prose), name


def test_the_websocket_page_names_every_reason_with_its_close_code() -> None:
    page = (ROOT / "docs" / "websocket.md").read_text()
    rows = re.findall(r"^\| .* \| .*?(\d{4}).*? \| ([A-Z_]+) \|$", page, re.MULTILINE)
    errors = [error_from_reason(reason, "") for reason in Reason if reason != Reason.IDLE_TIMEOUT]
    violations = (CloseCode.PROTOCOL_ERROR, CloseCode.BAD_DATA)
    closings = [
        *(close_for_error(error) for error in errors if error is not None),
        *(close_for_violation(code, "", limit_bytes=1) for code in violations),
    ]
    assert {(reason, int(code)) for code, reason in rows} == {
        (closing.reason, closing.code) for closing in closings
    }


def test_every_line_of_json_is_json() -> None:
    blocks = read_blocks("json")
    assert blocks
    for block in blocks:
        for line in block.text.splitlines():
            json.loads(line)


def test_no_page_is_forgotten() -> None:
    pages = {page.relative_to(ROOT).as_posix() for page in find_pages()}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/websocket.md"} <= pages
