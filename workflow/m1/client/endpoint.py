"""A provider's batch endpoint (OpenAI's ``/v1/files`` and ``/v1/batches``), and what its failures mean (see
:mod:`m1.client.batch`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from m1.client.attempt import excerpt
from m1.client.journal import SubmittedBatch
from m1.client.results import TRANSFER, is_passing, lines, required_field
from m1.core.errors import UserError

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

    from m1.client.provider import Provider

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
PATIENCE = 3600.0
"""Seconds without any answer of the provider after which the run ends; its batches go on there."""


class BatchEndpoint:
    """Uploads, creates, finds and reads batches. What it raises of openai's is for :meth:`reach` to judge."""

    def __init__(self, client: openai.AsyncOpenAI, provider: Provider) -> None:
        self.client, self.base_url, self.provider = client.with_options(max_retries=2), str(client.base_url), provider
        self.heard: float | None = None
        """When the provider answered last."""
        self.trouble = ""
        """What was found instead of the latest answer; empty where it came."""

    async def reach(self, action: Awaitable[None]) -> None:
        """Talk to the provider; a passing failure is noted, and what failed is tried again at the next turn.

        Raises:
            UserError: the failure does not pass, or nothing was heard for :data:`PATIENCE`, or at all.
        """
        import openai

        try:
            await action
        except openai.APIStatusError as error:
            found = self.mask(f"HTTP {error.status_code}: {excerpt(error.response.text)}")
            if not is_passing(error.status_code):
                raise UserError(f"{self.base_url}: {found}. {self.remedy(error.status_code)}") from None
            self._note_trouble(found)
        except (openai.APIConnectionError, ConnectionError) as error:
            self._note_trouble(f"no connection ({error.__cause__ or error})")
        except (openai.APIError, ValueError) as error:  # 200, and not what it should be
            self._note_trouble(self.mask(f"no proper answer ({excerpt(str(error))})"))
        else:
            self.heard, self.trouble = time.monotonic(), ""

    def mask(self, text: str) -> str:
        """Without our key, should the provider have sent it back."""
        return text.replace(self.client.api_key, "***") if self.provider.api_key_env else text

    def _note_trouble(self, found: str) -> None:
        if self.heard is None:
            raise UserError(f"{self.base_url}: {found}. Check base_url and the connection; the provider may be down.")
        if (silent := time.monotonic() - self.heard) > PATIENCE:
            raise UserError(
                f"{self.base_url}: no answer for {silent:,.0f} s, at last: {found}. Wait until the provider "
                "is well again."
            )
        self.trouble = found

    def remedy(self, status: int) -> str:
        """What to do about a status that does not pass."""
        key = f"the key in the environment variable {self.provider.api_key_env}"
        return {
            401: f"Check {key}.",
            402: "Top up the provider's credit.",
            403: f"Check what {key} may use.",
            404: f"Check base_url, that it has a batch endpoint, and that it knows the model {self.provider.model!r}.",
        }.get(status, f"Check the settings of {self.provider.name}.")

    async def upload(self, requests: Sequence[bytes]) -> str:
        """The id of an input file with these lines."""
        file = ("requests.jsonl", b"".join(requests), "application/jsonl")
        upload = await self.client.files.create(
            file=file, purpose="batch", timeout=max(TRANSFER, self.provider.timeout)
        )
        wrapped = getattr(upload, "data", None)  # as by SiliconFlow: {"code": 20000, "data": {"id": ...}}
        input_file = (
            str(wrapped["id"]) if isinstance(wrapped, dict) and "id" in wrapped else required_field(upload, "id")
        )
        self.heard = time.monotonic()
        return input_file

    async def create(self, batch: SubmittedBatch) -> str:
        """The id of a new batch; one attempt, since a second one could make it twice."""
        settings: dict[str, Any] = self.provider.batch  # type: ignore[assignment]
        created = await self.client.with_options(max_retries=0).batches.create(
            input_file_id=batch.input_file,
            endpoint=ENDPOINT,
            completion_window=settings["window"],
            metadata={"m1": batch.mark},
        )
        return required_field(created, "id")

    async def find(self, batch: SubmittedBatch, journal: Path) -> str | None:
        """The id of a batch that may have been created.

        Args:
            journal: the batch's journal, for the message.

        Raises:
            UserError: the provider has no list of batches.
        """
        import openai

        try:
            async for page in (await self.client.batches.list(limit=100)).iter_pages():
                if not isinstance(page.data, list):
                    raise ValueError("no list of batches")
                for found in page.data:
                    if (found.metadata or {}).get("m1") == batch.mark or found.input_file_id == batch.input_file:
                        return found.id
        except AttributeError:  # what openai makes of a page of HTML
            raise ValueError("no list of batches") from None
        except openai.NotFoundError:
            raise UserError(
                f"{journal}: whether this batch was created is not known, and the provider "
                "does not list its batches. "
                f"Look there for one with the input file {batch.input_file}: if it exists, write its id "
                "into this file, else delete it."
            ) from None
        return None

    async def retrieve(self, batch_id: str) -> Batch:
        """The state of a batch."""
        return await self.client.batches.retrieve(batch_id)

    async def lines(self, file_id: str) -> AsyncIterator[bytes]:
        """The lines of an output or error file, without our key."""
        async for line in lines(self.client, file_id):
            yield line.replace(self.client.api_key.encode(), b"***") if self.provider.api_key_env else line
