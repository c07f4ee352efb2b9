"""stt-serve's command line: what is wrong is one sentence that names it, and exit code 2."""

import pytest

from stt_service.command import main


def run(arguments: list[str]) -> int | str | None:
    """The exit code of a command line that is wrong."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--batch-size", "0"], {}, "--batch-size: '0' is not a whole number from 1 to"),
        (["--batch-size", "9" * 5000], {}, "--batch-size"),
        ([], {"BATCH_SIZE": "many"}, "BATCH_SIZE is 'many'"),
        ([], {"BATCH_SIZE": "9" * 5000}, "BATCH_SIZE is"),
        ([], {"MODEL_NAME": "a\nb"}, "MODEL_NAME holds"),
        (["--model", ""], {}, "name is empty"),
        (["--model", "folder\udcff"], {}, "not UTF-8"),
        (["--device", "gpu"], {}, "--device"),
        (["--device", "cuda:100"], {}, "--device"),
        (["--threads", "0"], {}, "--threads"),
        (["--threads", "1" + "0" * 30], {}, "--threads"),
        (["--drain-grace", "nan"], {}, "--drain-grace"),
        (["--drain-grace", "-1"], {}, "--drain-grace"),
        (["--drain-grace", "1e999"], {}, "--drain-grace"),
        (["--step-timeout", "0"], {}, "--step-timeout"),
        (["--loading-timeout", "inf"], {}, "--loading-timeout"),
        (["--max-behind", "-1"], {}, "--max-behind"),
        (["--log-format", "xml"], {}, "--log-format"),
        (["--port", "1"], {}, "--port"),
        (["--batch", "8"], {}, "--batch"),
        (["--tls-cert", "x.pem"], {}, "go together"),
        (["--tls-cert", "x.pem", "--tls-key", "x", "--no-gateway"], {}, "x.pem cannot be read"),
        ([], {"STT_KEY": "k\u20131", "STT_SECRET": "s-1"}, "STT_KEY holds"),
        ([], {"STT_KEY": "k-1", "STT_SECRET": "s 1"}, "STT_SECRET holds"),
        ([], {"STT_KEY": "k-1", "STT_SECRET": ""}, "STT_SECRET is not set"),
        (["--keys", "/nowhere/keys"], {}, "--keys: /nowhere/keys cannot be read"),
        (["--grpc", "0.0.0.0:0"], {}, "--grpc 0.0.0.0:0 lets other machines in"),
        (["--http", "[::]:0"], {}, "--http [::]:0 lets other machines in"),
        (["--metrics", "0.0.0.0:0"], {}, "--metrics 0.0.0.0:0 lets other machines in"),
        (["--allow-host", "https://x"], {}, "--allow-host: 'https://x' is no host name"),
        (["--trusted-proxy", "nginx"], {}, "--trusted-proxy: 'nginx' is no address"),
    ],
)
def test_wrong_usage_is_named(arguments, environment, message, monkeypatch, capsys) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("stt-serve: ")
    assert message in line


@pytest.mark.parametrize("option", ["--grpc", "--http", "--metrics"])
@pytest.mark.parametrize(
    "address", ["", "nonsense", "host:", ":8000", "host:99999", "http://host:80", "::1:80", "[::1"]
)
def test_what_is_no_address_is_named_by_its_option(option: str, address: str, capsys) -> None:
    assert run([option, address]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {option}: {address!r} is no address; write HOST:PORT" in line
