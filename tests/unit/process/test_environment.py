"""Variables as people set them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.process.environment import (
    InvalidSetting,
    read_proxy_token,
    read_token,
    read_variable,
)

KEYS = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).filter(
    lambda token: token[0] not in "'\"" or token[0] != token[-1]
)
white_space = st.text(" \t\r\n\u00a0", max_size=3)


class TestReadVariable:
    @given(
        value=tokens, before=white_space, after=white_space, quote=st.sampled_from(["", '"', "'"])
    )
    def test_what_surrounds_a_value_is_not_part_of_it(
        self, value: str, before: str, after: str, quote: str
    ):
        environment = {"NAME": f"{before}{quote}{value}{quote}{after}"}
        assert read_variable(environment, "NAME") == value

    @pytest.mark.parametrize("value", ["", " ", "\r\n", '""', "' '"])
    def test_nothing_counts_as_unset(self, value: str):
        assert read_variable({"NAME": value}, "NAME", "default") == "default"
        assert read_variable({}, "NAME") == ""

    @pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\x1bb"])
    def test_a_control_character_is_refused_by_the_variables_name(self, value: str):
        with pytest.raises(InvalidSetting, match="NAME holds"):
            read_variable({"NAME": value}, "NAME")


class TestReadToken:
    @given(value=tokens)
    def test_whatever_fits_into_a_header_is_taken(self, value: str):
        assert read_token({"NAME": value}, "NAME") == value

    @pytest.mark.parametrize("character", ["\u2013", "\u2011", "\u201d", "\ufeff", " ", "é", "…"])
    def test_what_does_not_is_refused_without_telling_the_secret(self, character: str):
        with pytest.raises(InvalidSetting, match="NAME holds") as caught:
            read_token({"NAME": f"ws{character}geheim"}, "NAME")
        assert "geheim" not in str(caught.value)


class TestReadProxyToken:
    def test_none_and_both(self):
        assert read_proxy_token({}) is None
        assert read_proxy_token({"MODAL_KEY": "", "MODAL_SECRET": ""}) is None
        assert read_proxy_token(KEYS) == ("wk-1", "ws-1")

    @pytest.mark.parametrize(("given", "missing"), [("KEY", "SECRET"), ("SECRET", "KEY")])
    def test_half_is_refused(self, given: str, missing: str):
        with pytest.raises(InvalidSetting, match=f"MODAL_{missing} is not set"):
            read_proxy_token({f"MODAL_{given}": "x"})

    @pytest.mark.parametrize("name", KEYS)
    def test_the_variable_that_is_wrong_is_named(self, name: str):
        with pytest.raises(InvalidSetting, match=name):
            read_proxy_token({**KEYS, name: "ws\u2013x"})
