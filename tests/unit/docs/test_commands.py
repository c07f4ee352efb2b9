"""Every command line on the pages is understood by the program that it starts."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from tests.pages import ROOT, Block, read_blocks
from tests.unit.docs.reading import UNDERSTOOD, read_command_line

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS: dict[str, str] = PROJECT["project"]["scripts"]
TASKS: dict[str, str | dict[str, str]] = PROJECT["tool"]["poe"]["tasks"]
MARKERS = {line.partition(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}

SHELL_BLOCKS = read_blocks("sh")


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_every_command_is_understood(block: Block) -> None:
    folder = ROOT
    for words in split_commands(block.text):
        if words[0] == "cd":
            folder = folder / words[1]
            assert folder.is_dir()
        else:
            check(words, folder)


@pytest.mark.parametrize(
    "line",
    [
        "uv run stt-serve --modell digits",
        "stt-transcribe --format docx",
        "python -m stt_service.deploy.bench --batch-size 1",
        "python client/latency_test.py -q 4",
        "uvx modal deplay stt_service/modal_app.py",
        "uvx modal deploy stt_service/modal.py",
        "uvx modal run stt_service/modal_app.py::benchmark",
        "uv run --extra modle stt-latency",
        "uv run poe chekc",
        "uv run poe bench stpe",
        "uv run poe fuzz --scael 0.1",
        "uv run pytest -m slwo",
        "export MODAL_KEYS=wk-1",
        "MODEL=digits stt-serve",
        "stt-server",
    ],
)
def test_a_mistyped_command_is_found(line: str) -> None:
    with pytest.raises((AssertionError, SystemExit, click.UsageError)):
        for words in split_commands(line):
            check(words, ROOT)


def split_commands(script: str) -> list[list[str]]:
    """The simple commands of a shell script, each as its words."""
    # grpcurl's lines are run by tests/integration/test_examples.py.
    if "grpcurl -plaintext" in script:
        return []
    commands: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                commands += [command] if command else []
                command = []
            else:
                command.append(word)
    return commands


def check(words: list[str], folder: Path) -> None:
    """Fail if the program, its options or the files it is given do not exist."""
    while re.match(r"[A-Z_]+=", words[0]):
        check_variable(words.pop(0))
    match words:
        case ["uv", "run", *arguments]:
            check(check_uv_options(arguments), folder)
        case ["uvx", *command]:
            check(command, folder)
        case ["mkdir", "-p", "build"] | ["python", "-m", "grpc_tools.protoc", *_]:
            pass  # Run by tests/integration/test_examples.py.
        case ["python", "-m", module, *arguments]:
            is_package = importlib.util.find_spec(module).submodule_search_locations is not None
            check_options(f"{module}.__main__:main" if is_package else f"{module}:main", arguments)
        case ["python", path, *arguments] if path.startswith("examples/"):
            assert (folder / path).is_file() and not arguments
        case ["python", path, *arguments]:
            assert (ROOT / path).is_file()
            module = path.removesuffix(".py").replace("/", ".")
            check_options(f"{module}:main", arguments)
        case ["node", path]:
            assert (folder / path).is_file()
        case ["npm", "install"]:
            assert (folder / "package.json").is_file()
        case ["pip", "install", what]:
            assert what == "uv" or what.removeprefix(".[").removesuffix("]") in find_extras()
        case ["export", *variables]:
            for variable in variables:
                check_variable(variable)
        case ["pytest", *arguments]:
            check_pytest(arguments)
        case ["poe", task, *arguments]:
            check_task(task, arguments)
        case ["ruff", "check" | "format", *_] | ["arecord" | "ffmpeg", *_]:
            pass
        case ["modal", *arguments]:
            check_modal(arguments)
        case [name, *arguments]:
            assert name in SCRIPTS, f"there is no program {name}"
            check_options(SCRIPTS[name], arguments)


def check_task(name: str, arguments: Sequence[str]) -> None:
    """Fail if there is no such task, or its program does not understand the arguments."""
    assert name in TASKS, f"there is no task {name}"
    if arguments:
        task = TASKS[name]
        program = task if isinstance(task, str) else task["cmd"]
        check([*program.split(), *arguments], ROOT)


def check_uv_options(arguments: Sequence[str]) -> list[str]:
    """The command behind the options of `uv run`."""
    match arguments:
        case ["--package", package, "--extra", extra, *command]:
            assert extra in find_extras(package)
        case ["--package", package, *command]:
            assert find_extras(package) is not None
        case ["--extra", extra, *command]:
            assert extra in find_extras()
        case _:
            command = arguments
    return list(command)


def find_extras(package: str = "kyutai-stt") -> set[str]:
    """The extras of a package of this workspace."""
    members = PROJECT["tool"]["uv"].get("workspace", {}).get("members", [])
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in [".", *members]
    ]
    (extras,) = [
        set(project.get("optional-dependencies", {}))
        for project in projects
        if project["name"] == package
    ]
    return extras


def check_options(entry: str, arguments: Sequence[str]) -> None:
    """Fail if the program at `MODULE:FUNCTION` does not understand its arguments."""
    ended = read_command_line(entry, *arguments)
    # --help ends a program before it has read its whole command line.
    assert ended.returncode == (0 if "--help" in arguments else UNDERSTOOD), ended.stderr


def check_variable(assignment: str) -> None:
    name = assignment.partition("=")[0]
    code = (
        path.read_text()
        for folder in ("client", "gateway", "proto", "stt_service")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert any(f'"{name}"' in text for text in code), f"nothing reads {name}"


def check_pytest(arguments: Sequence[str]) -> None:
    values = iter(arguments)
    for argument in values:
        match argument:
            case "-n":
                assert next(values).isdecimal()
            case "-m":
                assert next(values) in MARKERS
            case "--ignore":
                assert (ROOT / next(values)).exists()
            case _:
                assert (ROOT / argument).exists()


def check_modal(arguments: list[str]) -> None:
    from modal.cli.entry_point import entrypoint_cli

    if arguments[0] == "run":
        path, _, function = arguments[1].partition("::")
        assert f"\ndef {function}(" in (ROOT / path).read_text()
        return
    command: click.Command = entrypoint_cli
    context = click.Context(command, info_name="modal")
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context)
    command.parse_args(context, list(arguments))
    for argument in arguments:
        if argument.endswith(".py"):
            assert (ROOT / argument).is_file()
