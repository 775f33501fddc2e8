"""The settings a module is given on its command line: one JSON object, every documented key required."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from m1.core.errors import UserError


def parse(text: str, keys: Collection[str]) -> dict[str, Any]:
    """Read the value of ``--settings``.

    Raises:
        UserError: not a JSON object; keys that are unknown or missing (defaults live in the configuration, not in the
            code).
    """
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"--settings: not readable as JSON: {error}. Give one JSON object with the keys {', '.join(keys)}."
        ) from None
    if not isinstance(settings, dict):
        raise UserError(
            f"--settings: {type(settings).__name__} found; give one JSON object with the keys {', '.join(keys)}."
        )
    unknown = [key for key in settings if key not in keys]
    missing = [key for key in keys if key not in settings]
    if unknown or missing:
        faults = [
            f"{word} key {', '.join(names)}" for word, names in (("unknown", unknown), ("missing", missing)) if names
        ]
        raise UserError(f"--settings: {'; '.join(faults)}. Its keys are {', '.join(keys)}.")
    return settings


def choice(settings: dict[str, Any], key: str, values: Collection[str]) -> str:
    """The value of a setting that is one of a few words.

    Raises:
        UserError: another value, with the words that are possible.
    """
    value = settings[key]
    if value not in values:
        raise UserError(f"--settings: {key} is {value!r}; it must be one of {', '.join(values)}.")
    return value


def count(settings: dict[str, Any], key: str) -> int | None:
    """The value of a setting that is a positive whole number or null.

    Raises:
        UserError: anything else.
    """
    value = settings[key]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UserError(f"--settings: {key} is {value!r}; it must be a positive whole number or null.")
    return value
