"""Talk to a provider's batch endpoint (OpenAI's ``/v1/files`` and ``/v1/batches``), and classify its failures.

:mod:`m1.client.batch` decides what to submit and when.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1.client.attempt import MOST_BYTES, describe, excerpt, is_passing
from m1.client.backlog import ENDPOINT, SubmittedBatch
from m1.client.completion import completion_value
from m1.client.failures import remedies
from m1.core.errors import UserError

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

    from m1.client.provider import Provider, Tokens

NO_COMPLETION = 502
"""The status that stands for a 200 without a completion."""
PATIENCE = 3600.0
"""Seconds without any answer of the provider after which the run ends; its batches go on there."""
SPARE_LINES = 1000
"""How many lines an output file may have beyond two for each call, such as empty ones."""
TRANSFER = 600.0
"""Seconds without a byte after which an upload or a download is given up."""


class BatchEndpoint:
    """Uploads, creates, finds and reads batches; run its methods through :meth:`reach`, which handles their errors."""

    def __init__(self, client: openai.AsyncOpenAI, provider: Provider) -> None:
        self.client, self.base_url, self.provider = client.with_options(max_retries=2), str(client.base_url), provider
        self.heard: float | None = None
        """When the provider last answered (monotonic seconds); None before its first answer."""
        self.trouble = ""
        """The failure of the latest request; empty if it was answered."""

    async def reach(self, action: Awaitable[None]) -> None:
        """Await a request to the provider. A temporary failure is noted, and the caller tries again at its next turn.

        Raises:
            UserError: the failure is permanent, or the provider has never answered, or not for :data:`PATIENCE`.
        """
        import openai

        try:
            await action
        except openai.APIStatusError as error:
            found = self.mask(describe(error.status_code, error.response.headers, error.response.content))
            if not is_passing(error.status_code):
                raise UserError(f"{self.base_url}: {found}. {self.remedy(error.status_code)}") from None
            self._note_trouble(found)
        except (openai.APIConnectionError, ConnectionError) as error:
            self._note_trouble(f"no connection ({error.__cause__ or error})")
        except (openai.APIError, ValueError) as error:  # a 200 with unexpected content
            self._note_trouble(self.mask(f"no proper answer ({excerpt(str(error))})"))
        else:
            self.heard, self.trouble = time.monotonic(), ""

    def mask(self, text: str) -> str:
        """The text without our key, in case the provider sent it back."""
        return text.replace(self.client.api_key, "***") if self.provider.api_key_env else text

    def _note_trouble(self, found: str) -> None:
        if self.heard is None:
            raise UserError(f"{self.base_url}: {found}. Check base_url and the connection; the provider may be down.")
        if (silent := time.monotonic() - self.heard) > PATIENCE:
            remedy = "Wait until the provider is well again."
            raise UserError(f"{self.base_url}: no answer for {silent:,.0f} s, at last: {found}. {remedy}")
        self.trouble = found

    def remedy(self, status: int) -> str:
        """Advise what to do about a status that waiting does not mend."""
        found = f"that it has a batch endpoint, and that it knows the model {self.provider.model!r}"
        known = remedies(self.provider) | {404: f"Check base_url, {found}."}
        return known.get(status, f"Check the settings of {self.provider.name}.")

    async def upload(self, requests: Iterable[bytes]) -> str:
        """Upload the lines of an input file, and return the file's id."""
        file = ("requests.jsonl", b"".join(requests), "application/jsonl")
        seconds = max(TRANSFER, self.provider.timeout)
        return self._read(await self.client.files.create(file=file, purpose="batch", timeout=seconds), "id")

    async def create(self, batch: SubmittedBatch) -> str:
        """Create a batch, and return its id. There is only one attempt, as a second one could create it twice."""
        assert self.provider.batch
        created = await self.client.with_options(max_retries=0).batches.create(
            input_file_id=batch.input_file,
            endpoint=ENDPOINT,
            completion_window=self.provider.batch["window"],
            metadata={"m1": batch.mark},
        )
        return self._read(created, "id")

    async def find(self, batch: SubmittedBatch, journal: Path) -> str | None:
        """Look for a batch that may have been created; returns its id, or None if the provider does not list it.

        Raises:
            UserError: the provider has no list of batches; the message names the ``journal``.
        """
        import openai

        try:
            async for page in (await self.client.batches.list(limit=100)).iter_pages():
                if not isinstance(page.data, list):
                    raise ValueError("no list of batches")
                for found in page.data:
                    if (found.metadata or {}).get("m1") == batch.mark or found.input_file_id == batch.input_file:
                        return found.id
        except AttributeError:  # openai raises it for a page of HTML
            raise ValueError("no list of batches") from None
        except openai.NotFoundError:
            raise UserError(
                f"{journal}: whether this batch was created is not known, and the provider does not list its batches. "
                f"Look there for one with the input file {batch.input_file}: if it exists, write its id into this "
                "file, else delete it."
            ) from None
        return None

    async def refresh(self, batch: SubmittedBatch) -> Batch:
        """Ask for the state of a created batch, and note it there."""
        found = await self.client.batches.retrieve(batch.id or "")
        batch.status = self._read(found, "status").lower()
        answered = getattr(found.request_counts, "completed", 0)
        batch.answered = answered if type(answered) is int else 0
        return found

    def _read(self, answer: Any, field: str) -> str:
        """A field that every proper answer has; note that the provider answered.

        Raises:
            ValueError: the answer lacks it. openai reads a page of HTML as a text, and ``{"error": …}`` as an object
                without fields.
        """
        wrapped = getattr(answer, "data", None)  # as by SiliconFlow: {"code": 20000, "data": {"id": ...}}
        inside = wrapped.get(field) if isinstance(wrapped, dict) else None
        if not (value := inside or getattr(answer, field, None)):
            raise ValueError(f"no {field} in {excerpt(answer if isinstance(answer, str) else repr(answer))}")
        self.heard = time.monotonic()
        return str(value)

    async def lines(self, file_id: str, calls: int) -> AsyncIterator[bytes]:
        """Yield the lines of a batch's output or error file, without our key; ``calls`` is the batch's size.

        Lines are split at line feeds only, because an answer may contain the other characters at which Python splits.

        Raises:
            UserError: the file has far more lines than calls, or a line that is too long, so it may never end.
        """
        key = self.client.api_key.encode() if self.provider.api_key_env else b""
        rest, count = b"", 0
        async for piece in self._pieces(file_id):
            *lines, rest = (rest + piece).split(b"\n")
            count += len(lines)
            if count > 2 * calls + SPARE_LINES or max(map(len, (rest, *lines))) > MOST_BYTES:
                found = f"more than {count - 1:,} lines for {calls:,} calls, or one of more than {MOST_BYTES:,} bytes"
                raise UserError(f"{self.base_url}: file {excerpt(file_id)} has {found}. Ask the provider about it.")
            for line in filter(bytes.strip, lines):
                yield line.replace(key, b"***") if key else line

    async def _pieces(self, file_id: str) -> AsyncIterator[bytes]:
        """Yield the content of a file in pieces, and a line feed that ends its last line."""
        import openai

        try:
            if file_id.startswith(("http://", "https://")):
                # SiliconFlow gives the address of a storage service, which must not see our key.
                stranger = openai.DefaultAsyncHttpxClient(timeout=TRANSFER)
                async with stranger, stranger.stream("GET", file_id) as page:
                    page.raise_for_status()
                    async for piece in page.aiter_bytes():
                        yield piece
            else:
                answer = self.client.files.with_streaming_response.content(file_id, timeout=TRANSFER)
                async with answer as response:
                    async for piece in response.iter_bytes():
                        yield piece
        except openai.APIError:
            raise
        except Exception as error:  # those of the HTTP library below, which openai passes on in mid-body
            raise ConnectionError(f"{type(error).__name__}: {error}") from None
        yield b"\n"


def read_line(
    line: bytes, at_most: Callable[[str], Tokens | None] = lambda key: None
) -> tuple[str, int, dict[str, Any] | str]:
    """Parse a line of an output or error file; ``at_most`` maps a key to the most tokens that its call may have used.

    Returns:
        The call's key, its status, and the value for the store or a description of the failure. The status is 200 only
        with a value. It is 503 if the provider names none (an expired batch), and :data:`NO_COMPLETION` for a 200
        without a completion.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the line has another form.
    """
    record = json.loads(line)
    key, response = str(record["custom_id"]), record.get("response")
    if not response:
        error = record["error"]
        code = str(error.get("code"))
        return key, int(code) if code.isdigit() else 503, f"{code}: {error.get('message')}"
    status, body = int(response.get("status_code") or 200), response["body"]
    if status != 200:
        return key, status, f"HTTP {status}: {excerpt(body)}"
    value = completion_value(body, 0.0, at_most(key))
    return (key, 200, value) if value else (key, NO_COMPLETION, f"HTTP 200 without a completion: {excerpt(body)}")


def reasons(found: Batch) -> tuple[str, set[str]]:
    """The error messages of a failed batch, as one text, and their codes."""
    errors: Any = found.to_dict(warnings=False).get("errors") or []
    errors = (errors.get("data") or []) if isinstance(errors, dict) else errors
    errors = [error if isinstance(error, dict) else {"message": error} for error in errors]
    texts = [": ".join(str(error[name]) for name in ("code", "message") if error.get(name)) for error in errors[:3]]
    return "; ".join(texts), {str(error.get("code")) for error in errors}
