"""Make one attempt at one call over HTTP, and classify its outcome."""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from m1.client.completion import completion_value
from m1.client.provider import Provider, Request, Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2
    import openai

CONNECT_SECONDS = 5.0
"""Time limit of a connection, TLS included."""
MOST_BYTES = 32 << 20
"""Size limit of a body: a hundred times the longest answer (without log-probabilities)."""
BODY_SECONDS = 600.0
"""Smallest time limit of a body; the whole call has the provider's ``timeout``."""
GATEWAY_TIMEOUTS = (504, 524)
SECRET = 8
"""Smallest length of a key. A shorter text is a placeholder such as "EMPTY", which may be a word of an answer, so it
must not be masked there."""
_TOO_LONG = f"a body of more than {MOST_BYTES:,} bytes"
_CONTENT_FILTER = re.compile(
    "content[_ -]?(filter|policy)|moderation|inappropriate content|data_inspection_failed", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True)
class Failure:
    """An attempt that brought no answer."""

    kind: str
    """``connection`` (none was made), ``reset``, ``timeout``, ``no completion`` (a 200 without one), ``too long`` (the
    body), ``other model`` (another one answered), ``refused`` (for the content of the request), ``5xx``, or the status.
    """
    found: str
    """The server's answer or the error, for messages."""
    status: int = 0
    wait: float | None = None
    """Seconds to wait that the provider asks for (Retry-After)."""

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have made and billed an answer that did not arrive.

        After a gateway's timeout, too, the model behind it may have answered.
        """
        return self.kind in {"reset", "timeout", "too long"} or self.status in {200, *GATEWAY_TIMEOUTS}


@asynccontextmanager
async def open_client(provider: Provider, base_url: str, api_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client of the openai package, without retries of its own.

    It follows no redirect, which would take the key or the question elsewhere, and reads no body beyond
    :data:`MOST_BYTES`. Each call has a connection of its own, which costs half a millisecond: on a shared connection, a
    proxy that sends an answer twice would shift all later answers to other questions.
    """
    import httpx2  # what openai 3 speaks HTTP with
    import openai

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    # The workflow's own servers are on the loopback, where a proxy from the environment must not be used.
    remote = provider.serve is None
    hooks: dict[str, list[Any]] = {"response": [partial(_read_bounded, seconds=max(BODY_SECONDS, provider.timeout))]}
    http_client = openai.DefaultAsyncHttpxClient(
        limits=limits, trust_env=remote, verify=remote, follow_redirects=False, event_hooks=hooks
    )
    timeout = openai.Timeout(provider.timeout, connect=min(provider.timeout, CONNECT_SECONDS), pool=None)
    async with openai.AsyncOpenAI(
        api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout, http_client=http_client
    ) as client:
        yield client


async def _read_bounded(response: httpx2.Response, seconds: float) -> None:
    """Read a response's body, with limits on its decoded size and on the time; streamed responses are left alone."""
    import httpx2

    if response.is_success and response.request.headers.get("x-stainless-raw-response") == "stream":
        return
    pieces, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > MOST_BYTES:
                    raise httpx2.RemoteProtocolError(_TOO_LONG)
                pieces.append(piece)
    except TimeoutError:
        raise httpx2.ReadTimeout(f"the body was not there after {seconds:g} s") from None
    response._content = b"".join(pieces)  # as aread() of httpx2 does; there is no public way to set it


async def attempt(client: openai.AsyncOpenAI, provider: Provider, request: Request) -> dict[str, Any] | Failure:
    """Make one attempt at a call; returns the answer in the form that the store keeps, or the failure."""
    import httpx2
    import openai

    # Failures are returned, not raised: an exception raised in a handler would carry the client's exception along, and
    # with it the request and its key.
    key = client.api_key if len(client.api_key) >= SECRET else ""
    began = time.monotonic()
    try:
        async with asyncio.timeout(provider.timeout):
            # `post` takes any body; `create` would want fields that it does not know separately, and is slower.
            response = await client.post(
                "/chat/completions", cast_to=openai.HttpxBinaryResponseContent, body=request.body(provider)
            )
    except openai.APIStatusError as error:
        return _failure(error.status_code, error.response.headers, error.response.content, key)
    except (openai.APIConnectionError, TimeoutError) as error:
        cause = error.__cause__
        found = excerpt(str(cause) or type(cause).__name__, key)
        if found == _TOO_LONG:
            return Failure("too long", f"{found}, which is no answer's")
        if isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)):
            return Failure("connection", f"no connection ({found})")
        if isinstance(error, (openai.APITimeoutError, TimeoutError)):
            return Failure("timeout", f"no answer within {provider.timeout:g} s")
        return Failure("reset", f"the connection broke ({found})")
    outcome = _read(response.content, key, time.monotonic() - began, request.most_tokens(provider))
    if isinstance(outcome, dict) and not provider.is_served_by(outcome["served"]):
        return Failure("other model", provider.other_model(excerpt(outcome["served"])), 200)
    return outcome


def _read(content: bytes, key: str, seconds: float, at_most: Tokens) -> dict[str, Any] | Failure:
    """Read the body of a 200. Its content type is ignored, since a completion is billed whatever the type says."""
    content = content.replace(key.encode(), b"***") if key else content
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if value := completion_value(body, seconds, at_most):
        return value
    error = isinstance(body, dict) and body.get("error")
    filtered = error and _CONTENT_FILTER.search(content.decode("utf-8", "replace"))
    kind = "refused" if filtered else "no completion"
    return Failure(kind, f"HTTP 200 without a completion: {excerpt(content, key)}", 200)


def _failure(status: int, headers: Mapping[str, str], content: bytes, key: str) -> Failure:
    found = describe(status, headers, content, key)
    if is_refusal(status, content.decode("utf-8", "replace")):
        kind = "refused"
    elif status == 429 and b"insufficient_quota" in content:
        kind, status = "402", 402  # OpenAI sends a 429 when the credit is used up, but waiting does not help then
    else:
        kind = "5xx" if status >= 500 else str(status)
    return Failure(kind, found, status, retry_after(headers))


def describe(status: int, headers: Mapping[str, str], content: bytes, key: str = "") -> str:
    """A failure's status and the beginning of its body, without the key, for messages."""
    if 300 <= status < 400 and (place := headers.get("location")):
        return f"HTTP {status}, a redirect to {excerpt(place, key)}"
    return f"HTTP {status}: {excerpt(content, key)}"


def is_refusal(status: int, text: str) -> bool:
    """Whether a provider rejects a call for its content, so that asking again cannot help."""
    return status in {400, 413, 422} or (status in {403, 451} and bool(_CONTENT_FILTER.search(text)))


def is_passing(status: int) -> bool:
    """Whether the same call may succeed later."""
    return status in {408, 409, 429} or status >= 500


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the header Retry-After, a number or a date by the server's own clock; None without one."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value)
            date = headers.get("date")
            seconds = until.timestamp() - (email.utils.parsedate_to_datetime(date).timestamp() if date else time.time())
        except (ValueError, OverflowError):
            return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def excerpt(said: Any, key: str = "") -> str:
    """The first 300 characters of a server's text, bytes or parsed JSON, on one line and without the key."""
    if isinstance(said, bytes):
        said = said.decode("utf-8", "replace")
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    text = text.encode("utf-8", "replace").decode()  # lone surrogates cannot be printed
    return " ".join((text.replace(key, "***") if key else text).split())[:300] or "(empty)"
