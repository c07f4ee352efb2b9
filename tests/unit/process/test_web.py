"""The options of HTTP, as one process reads them and passes them to another."""

import argparse

from stt_service.process.web import NOTHING_SAID, WebOptions, add_web_arguments


def read(arguments: list[str]) -> WebOptions:
    parser = argparse.ArgumentParser()
    add_web_arguments(parser)
    return WebOptions.from_arguments(parser.parse_args(arguments))


def test_what_is_passed_on_means_the_same() -> None:
    options = WebOptions(
        allow_origins=("https://a.example", "https://b.example:8443"),
        allow_hosts=("speech.example.com", "x"),
        trusted_proxies=("10.0.0.0/8", "::1/128"),
    )
    assert read(options.to_arguments()) == options
    assert NOTHING_SAID.to_arguments() == []
    assert read([]) == NOTHING_SAID


def test_a_proxy_is_the_same_however_its_number_is_written() -> None:
    assert read(["--trusted-proxy=::ffff:10.0.0.1"]).trusted_proxies == ("10.0.0.1/32",)
