"""The command lines of all commands: what is wrong is one line and exit code 2."""

import pytest

import client.demo.arguments
import client.latency.arguments
import client.transcribe.arguments
from stt_service.process.arguments import Parser

PARSERS = [
    client.demo.arguments.make_parser(),
    client.latency.arguments.make_parser(),
    client.transcribe.arguments.make_parser(),
]


def refuse(parser: Parser, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    return captured.err


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_an_abbreviated_option_is_refused(
    parser: Parser, capsys: pytest.CaptureFixture[str]
) -> None:
    [*_, option] = [name for name in parser._option_string_actions if name.startswith("--")]
    assert option[:-1] in refuse(parser, [option[:-1], "1"], capsys)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_help_fits_a_terminal_and_names_the_exit_codes(parser: Parser) -> None:
    shown = parser.format_help()
    assert max(map(len, shown.splitlines())) <= 100
    assert "exit codes" in shown


@pytest.mark.parametrize("option", ["--url", "--grpc"])
@pytest.mark.parametrize("parser", PARSERS[1:], ids=lambda parser: parser.prog)
def test_an_empty_address_is_not_the_default_one(
    parser: Parser, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the address is empty" in refuse(parser, [option, ""], capsys)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-p", "0"], "'0' is not a whole number from 1"),
        (["--sweep", "1,x"], "'x' is not a whole number from 1"),
        (["--rtf", "nan"], "'nan' is not a number above 0"),
    ],
)
def test_wrong_numbers_are_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in refuse(client.latency.arguments.make_parser(), arguments, capsys)
