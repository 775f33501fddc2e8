"""Keys of providers: what is refused where one may stand, and that nothing of it is repeated."""

from __future__ import annotations

import pytest
from m1.core import keys
from m1.core.errors import KEY, UserError, printable

NAMES = ["OPENAI_API_KEY", "M1_TEST_KEY", "KEY", "THE_KEY", "_KEY2", "S3_KEY", "openai_api_key", "GPT4O_KEY", None]
NO_NAMES = [
    "sk-live-ABCDEFGH12345678ijklmnop",
    "sk_live_ABCDEFGH12345678ijklmnop",
    "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "AKIAIOSFODNN7EXAMPLE",
    "ABCDEFGH12345678",
    "9f0c2a1b9f0c2a1b9f0c2a1b9f0c2a1b",
    "abcdefghijklmnopqrstuvwx",
    "My_Key",
    "$THE_KEY",
    "THE KEY",
    "",
    ["sk-live-ABCDEFGH12345678ijklmnop"],
]
SHAPES = [
    "sk-live-ABCDEFGH12345678ijklmnop",
    "sk-proj-abcdefghijklmnopq1rstuv_-xyz",
    "sk-ant-api03-abcdefghij0123456789-x",
    "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "AIzaSyA-1234567890abcdefghijklmnopqrst",
    "Bearer abcdef.0123456789-xyz",
]
NO_SHAPES = ["data/sk-hynix-medical-questions-2024.jsonl", "risk-ABCDEFGH12345678ab", "m1-32b-1k", "sk-learn_of_2024"]
ADDRESSES = [
    "https://api.openai.com/v1",
    "http://127.0.0.1:9/v1",
    "http://gpu7:30000/v1",
    "https://[::1]:8000/v1",
    None,
]
NO_ADDRESSES = [
    "http://127.0.0.1:9/v1?api_key=sk-live-ABCDEFGH12345678ijklmnop",
    "https://host/v1?x",
    "https://host/v1#ABCDEFGH",
    "https://me:ABCDEFGH12@host/v1",
    "https://ABCDEFGH12@host/v1",
    "https://host/sk-live-ABCDEFGH12345678ijklmnop/v1",
    "host/v1",
    "https:///v1",
    5,
]


def said(check, value: object) -> str:
    with pytest.raises(UserError) as caught:
        check(value, "teacher.it")
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_variables_are_taken(name: str | None) -> None:
    keys.check_variable(name, "x")


@pytest.mark.parametrize("value", NO_NAMES)
def test_what_may_be_a_key_is_no_name_and_is_not_shown(value: object) -> None:
    message = said(keys.check_variable, value)
    assert message.startswith("teacher.it: the name of the environment variable")
    assert not value or str(value) not in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_are_taken(url: str | None) -> None:
    keys.check_address(url, "x")


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_an_address_holds_no_key_and_is_not_shown(url: object) -> None:
    message = said(keys.check_address, url)
    assert message.startswith("teacher.it: ")
    assert "ABCDEFGH" not in message
    assert "an address such as https://host/v1 is needed" in message


@pytest.mark.parametrize(
    "extra",
    [
        {"api_key": "v4lue"},
        {"API-Key": "v4lue"},
        {"extra_headers": {"Authorization": "v4lue"}},
        {"nested": [{"accessToken": "v4lue"}]},
        {"x-secret": "v4lue"},
        {"token": "v4lue"},
        {"hf_token": "v4lue"},
        {"password": "v4lue"},
        {"metadata": {"note": "sk-live-ABCDEFGHv4lue678ijklmnop"}},
        {"sk-live-ABCDEFGHv4lue678ijklmnop": 1},
    ],
)
def test_fields_for_keys_are_refused(extra: dict) -> None:
    assert "v4lue" not in said(keys.check_fields, extra)


def test_fields_that_only_sound_alike_are_taken() -> None:
    names = ("max_tokens", "stop_token_ids", "prompt_cache_key", "thinking_budget", "eos_token", "tokens", "top_k")
    keys.check_fields({"extra_body": dict.fromkeys(names, "text"), "top_p": 0.95, "stop": ["a"]}, "x")


@pytest.mark.parametrize("text", SHAPES)
def test_what_has_the_form_of_a_key_is_found_and_masked(text: str) -> None:
    assert printable(f"HTTP 401: '{text}' is wrong") == "HTTP 401: '***' is wrong"
    for place in ({"model": text}, {"serve": ["m1.world.server", text]}, {"note": {"key": text}}, {text: 1}):
        assert text not in said(keys.check_keys, place)


@pytest.mark.parametrize("text", NO_SHAPES)
def test_other_texts_have_no_such_form(text: str) -> None:
    assert not KEY.search(text)
    assert printable(text) == text
    keys.check_keys({"path": text}, "x")


def test_names_of_sets_are_no_settings() -> None:
    keys.check_keys({"benchmarks": {"extra": {"from": "a", "key": "medqa"}}}, "")


def test_plain_http_to_another_machine_is_open() -> None:
    assert keys.is_open("http://api.example.com/v1")
    assert keys.is_open("http://10.0.0.7:8000/v1")
    for url in ("https://api.example.com/v1", "http://127.0.0.2:9/v1", "http://[::1]/v1", "http://localhost/v1", None):
        assert not keys.is_open(url)
