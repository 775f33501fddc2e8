"""What a provider says of a batch of calls that has ended: its files, and why it failed (see
:mod:`m1.client.batch`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from m1.client.attempt import completion_value, excerpt

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

NO_COMPLETION = 502
TRANSFER = 600.0
"""Seconds without a byte after which an upload or a download is given up."""


def read_line(line: bytes) -> tuple[str, int, dict[str, Any] | str]:
    """Key, status, and the value for the store or what was found instead, from a line of an output or error file.

    Status is 200 with a value only. It is 503 where the provider names no status (an expired batch), and
    :data:`NO_COMPLETION` for a 200 without one.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: not a line of such a file.
    """
    record = json.loads(line)
    key, response = str(record["custom_id"]), record.get("response")
    if not response:
        error = record["error"]
        code = str(error.get("code"))
        return key, int(code) if code.isdigit() else 503, f"{code}: {error.get('message')}"
    status, body = int(response.get("status_code") or 200), response["body"]
    if status == 200:
        value = completion_value(body, seconds=0.0)
        return (key, 200, value) if value else (key, NO_COMPLETION, f"HTTP 200 without a completion: {excerpt(body)}")
    return key, status, f"HTTP {status}: {excerpt(body)}"


def is_passing(status: int) -> bool:
    return status in {408, 409, 429} or status >= 500


async def lines(client: openai.AsyncOpenAI, file_id: str) -> AsyncIterator[bytes]:
    """Lines of a file at the provider, one at a time.

    Split at line feeds only: an answer may hold any of the other characters at which Python or httpx split lines.
    """
    rest = b""
    async for piece in _pieces(client, file_id):
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(bytes.strip, lines):
            yield line
    if rest.strip():
        yield rest


async def _pieces(client: openai.AsyncOpenAI, file_id: str) -> AsyncIterator[bytes]:
    import openai

    try:
        if file_id.startswith(
            ("http://", "https://")
        ):  # SiliconFlow: the address of a storage, which is not to see our key
            async with (
                openai.DefaultAsyncHttpxClient(timeout=TRANSFER) as stranger,
                stranger.stream("GET", file_id) as page,
            ):
                page.raise_for_status()
                async for piece in page.aiter_bytes():
                    yield piece
        else:
            async with client.files.with_streaming_response.content(file_id, timeout=TRANSFER) as response:
                async for piece in response.iter_bytes():
                    yield piece
    except openai.APIError:
        raise
    except Exception as error:  # those of the HTTP library below, which openai passes on in mid-body
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


def reasons(found: Batch) -> tuple[str, set[str]]:
    """What a batch says of its failure, and the codes of it."""
    errors: Any = found.to_dict().get("errors") or []
    errors = (errors.get("data") or []) if isinstance(errors, dict) else errors
    errors = [error if isinstance(error, dict) else {"message": error} for error in errors]
    texts = [": ".join(str(error[name]) for name in ("code", "message") if error.get(name)) for error in errors[:3]]
    return "; ".join(texts), {str(error.get("code")) for error in errors}


def required_field(answer: Any, field: str) -> str:
    """A field that every proper answer has; openai reads a page of HTML as a text, and ``{"error": ...}`` as an object
    without fields.

    Raises:
        ValueError: it has not.
    """
    if not (value := getattr(answer, field, None)):
        raise ValueError(f"no {field} in {excerpt(answer if isinstance(answer, str) else repr(answer))}")
    return str(value)
