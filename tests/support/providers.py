"""Settings of a provider of calls, and requests that the adder (adder.py) answers."""

from __future__ import annotations

from typing import Any

from m1.client.complete import Provider, Request
from patience import PATIENCE

SETTINGS: dict[str, Any] = {
    "name": "adder",
    "model": "adder-1",
    "base_url": "http://127.0.0.1:9/v1",
    "serve": None,
    "serve_seconds": PATIENCE,
    "api_key_env": None,
    "temperature": 0,
    "max_tokens": 8000,
    "limit_field": "max_tokens",
    "extra": {},
    "concurrency": 8,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "timeout": PATIENCE,
    "deadline": None,
    "max_retries": 2,
    "price_prompt": 1.0,
    "price_completion": 10.0,
    "max_dollars": None,
    "batch": None,
    "rule": "released",
    "notes": None,
}

REQUESTS = [Request(f"What is {n} plus 1?") for n in range(40)]


def provider(**changes: Any) -> Provider:
    return Provider.from_settings(SETTINGS | changes, "teacher")
