"""Calls of an OpenAI-compatible provider: concurrent, repeated when they fail, and never paid for twice (B.1)."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from m1.calls.serving import served
from m1.errors import UserError
from m1.files import digest
from m1.progress import Progress
from m1.store import Store

if TYPE_CHECKING:
    import openai

REFUSED = "refused"
"""Finish reason of a call that the provider rejects for what it asks (HTTP 400, 413, 422), for example by a content filter."""
REFUSED_SHARE = 0.01
"""More than this share of the calls refused, and more than one, means that the settings are wrong; see :func:`complete_all`."""
GRACE = 60.0
"""Seconds that calls in flight are given when another one ends the run: they are paid for."""
LONGEST_WAIT = 30.0
"""Seconds between two attempts at most, whatever the provider asks for."""


@dataclass(frozen=True)
class Provider:
    """A model behind a URL: the settings ``teacher`` and ``labeller`` of the configuration."""

    name: str
    """What records call it."""
    model: str
    """What the provider calls it."""
    base_url: str | None
    """Ends in ``/v1`` as a rule; None where ``serve`` starts the server."""
    serve: list[str] | None
    """Module and arguments of a server to start, as after ``python -m``; None for a provider that runs already."""
    serve_seconds: float
    """How long to wait for that server's first answer."""
    api_key_env: str | None
    """Environment variable that holds the key; None where none is needed. The key itself is never logged."""
    temperature: float | None
    """None for the provider's default."""
    max_tokens: int
    """Limit of thinking and answer together (8,000 in the paper)."""
    concurrency: int
    """Calls at a time."""
    timeout: float
    """Seconds for one attempt."""
    max_retries: int
    """Further attempts at one call."""
    price_prompt: float
    """Dollars for a million tokens of prompt."""
    price_completion: float
    """Dollars for a million tokens of thinking and answer."""
    rule: str | None
    """Rule of :func:`m1.curation.is_right_curated` for a teacher; None for a labeller."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], title: str) -> Provider:
        """Check the settings; ``title`` is their name in the configuration.

        Raises:
            UserError: a key is missing, unknown or of a wrong kind.
        """
        kinds = {field.name: str(field.type).split(" | ") for field in fields(cls)}
        known: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "list[str]": list, "None": type(None)}
        if missing := [name for name in kinds if name not in settings]:
            raise UserError(f"{title}: no key {', '.join(missing)}. All of {', '.join(kinds)} are needed.")
        if extra := [name for name in settings if name not in kinds]:
            raise UserError(f"{title}: unknown key {', '.join(extra)}. Known are {', '.join(kinds)}.")
        for name, kind in kinds.items():
            value = settings[name]
            if isinstance(value, bool) or not any(isinstance(value, known[one]) for one in kind):
                raise UserError(f"{title}.{name}: {value!r}; {' or '.join(kind).replace('None', 'null')} is needed.")
        provider = cls(**settings)
        for name, least in (("concurrency", 1), ("max_tokens", 1), ("max_retries", 0), ("price_prompt", 0), ("price_completion", 0)):
            if getattr(provider, name) < least:
                raise UserError(f"{title}.{name}: {getattr(provider, name)}; at least {least} is needed.")
        if (provider.base_url is None) == (provider.serve is None):
            raise UserError(
                f"{title}: exactly one of base_url (a provider that runs) and serve (a server to start) is needed; the other is null."
            )
        return provider

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call costs."""
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6


@dataclass(frozen=True)
class Request:
    """One user turn, no system turn; ``seed`` is sent where given."""

    prompt: str
    seed: int | None = None

    def body(self, provider: Provider) -> dict[str, Any]:
        """What decides the answer: model, messages and sampling settings."""
        body = {
            "model": provider.model,
            "messages": [{"role": "user", "content": self.prompt}],
            "temperature": provider.temperature,
            "max_tokens": provider.max_tokens,
            "seed": self.seed,
        }
        return {name: value for name, value in body.items() if value is not None}

    def key(self, provider: Provider) -> str:
        """Key of the call in the store."""
        return digest(self.body(provider))


@dataclass(frozen=True)
class Completion:
    """An answer, read from what the store keeps of it."""

    key: str
    thinking: str
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    """Tokens as the provider counts and bills them; 0 where it does not say."""

    @classmethod
    def from_value(cls, key: str, value: Mapping[str, Any]) -> Completion:
        """Read a value of the store; see :func:`split_message` for how thinking is found."""
        thinking, answer = split_message(value["message"])
        usage = value["usage"] or {}
        tokens = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        return cls(key, thinking, answer, value["finish_reason"] or "", *tokens)


@dataclass(frozen=True)
class Spending:
    """What the calls of one :func:`complete_all` cost, and what of it was paid before."""

    calls: int
    """Distinct calls, refused ones left out."""
    calls_made: int
    """Those made now; the others came from the store."""
    prompt_tokens: int
    completion_tokens: int
    dollars: float
    dollars_now: float
    refused: int

    def __str__(self) -> str:
        stored = self.calls - self.calls_made
        return f"{self.calls_made:,} calls made, {stored:,} from the store, ${self.dollars:,.2f} in all, ${self.dollars_now:,.2f} now"

    def __add__(self, other: Spending) -> Spending:
        return Spending(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values())))


def split_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Thinking and answer of an assistant's message, stripped.

    Thinking comes as ``reasoning_content`` (DeepSeek, SGLang, SiliconFlow), as ``reasoning`` (vLLM, OpenRouter), inline as
    ``<think>...</think>``, or with the closing tag only, where the chat template opens it.
    """
    content = message.get("content") or ""
    for field in ("reasoning_content", "reasoning"):
        if thinking := str(message.get(field) or "").strip():
            return thinking, content.strip()
    thinking, tag, answer = content.partition("</think>")
    if tag:
        return thinking.strip().removeprefix("<think>").strip(), answer.strip()
    if content.lstrip().startswith("<think>"):  # cut by the token limit while thinking
        return content.strip().removeprefix("<think>").strip(), ""
    return "", content.strip()


def complete_all(requests: Sequence[Request], provider: Provider, store: Store, title: str) -> tuple[list[Completion], Spending]:
    """Answers to requests, in their order: from the store where it has them, else from the provider, and into the store at once.

    A call that fails for a passing reason (408, 409, 429, 5xx, no connection, no answer in time, a 200 without a completion) is
    repeated up to ``max_retries`` times. A call refused for what it asks becomes an empty completion with the finish reason
    :data:`REFUSED`, is not stored, and is asked again by the next run. A server of the workflow's own is started only if a call is to be
    made.

    Args:
        title: what the progress lines call it.

    Raises:
        UserError: a call failed to the end; the key is wrong or missing; the model is unknown; more than :data:`REFUSED_SHARE` was
            refused; the store cannot be written. Finished calls are kept, those in flight get :data:`GRACE` seconds to finish.
    """
    keys = [request.key(provider) for request in requests]
    missing = {key: request for key, request in zip(keys, requests) if key not in store}
    refused: set[str] = set()
    if missing:
        api_key = _api_key(provider)
        with served(provider.serve, provider.serve_seconds) if provider.serve else nullcontext(provider.base_url or "") as base_url:
            refused = asyncio.run(_Calls(provider, base_url, api_key, store, title, missing).run())
    answered = {key: Completion.from_value(key, store.get(key)) for key in dict.fromkeys(keys) if key not in refused}
    cost = {key: provider.dollars(completion.prompt_tokens, completion.completion_tokens) for key, completion in answered.items()}
    spending = Spending(
        calls=len(answered),
        calls_made=len(missing) - len(refused),
        prompt_tokens=sum(completion.prompt_tokens for completion in answered.values()),
        completion_tokens=sum(completion.completion_tokens for completion in answered.values()),
        dollars=round(sum(cost.values()), 6),
        dollars_now=round(sum(cost[key] for key in missing if key in cost), 6),
        refused=len(refused),
    )
    return [answered.get(key) or Completion(key, "", "", REFUSED, 0, 0) for key in keys], spending


def _api_key(provider: Provider) -> str:
    if provider.api_key_env is None:
        return "none"
    if key := os.environ.get(provider.api_key_env, "").strip():
        return key
    raise UserError(
        f"{provider.name}: the environment variable {provider.api_key_env} is not set. Set it to the provider's key and run again."
    )


class _Passing(Exception):
    """A failure that another attempt may mend.

    Args:
        found: what came, for the message.
        wait: seconds that the provider asks to wait.
    """

    def __init__(self, found: str, wait: float = 0.0) -> None:
        super().__init__(found)
        self.wait = wait


class _Refused(Exception):
    """The provider rejects this request for what it asks."""


class _Calls:
    """The calls of one run: workers that share the list of what is missing."""

    def __init__(self, provider: Provider, base_url: str, api_key: str, store: Store, title: str, missing: Mapping[str, Request]) -> None:
        self.provider, self.base_url, self.api_key, self.store = provider, base_url, api_key, store
        self.title, self.missing = title, missing
        self.refused: set[str] = set()
        self.done = 0
        self.dollars = 0.0
        self.stopping = asyncio.Event()

    async def run(self) -> set[str]:
        """Make all calls, and return the keys of the refused ones; the first failure stops the rest."""
        import openai

        # A server of our own is on the loopback, where a proxy of the environment must not stand between.
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False) if self.provider.serve else None
        waiting = iter(self.missing.items())
        async with openai.AsyncOpenAI(
            api_key=self.api_key, base_url=self.base_url, max_retries=0, timeout=self.provider.timeout, http_client=http_client
        ) as client:
            with Progress(self.title, len(self.missing), "calls") as progress:
                count = min(self.provider.concurrency, len(self.missing))
                workers = [asyncio.create_task(self._work(client, waiting, progress)) for _ in range(count)]
                done, pending = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
                failure = next((error for worker in done if (error := worker.exception())), None)
                if failure:
                    self.stopping.set()
                    if pending:
                        await asyncio.wait(pending, timeout=GRACE)
                    for worker in workers:
                        worker.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)
                    if isinstance(failure, UserError):
                        raise UserError(f"{failure} {self._kept()}")
                    raise failure
        return self.refused

    def _kept(self) -> str:
        total = len(self.missing)
        return f"{self.done:,} of {total:,} calls of this run are kept in {self.store.folder}; the same command goes on with the rest."

    async def _work(self, client: openai.AsyncOpenAI, waiting: Any, progress: Progress) -> None:
        for key, request in waiting:
            if self.stopping.is_set():
                return
            try:
                value = await self._persist(client, request)
            except _Refused as error:
                self.refused.add(key)
                if len(self.refused) > max(1, REFUSED_SHARE * len(self.missing)):
                    raise UserError(
                        f"{self.base_url}: {len(self.refused)} calls were refused, the last one with: {error}. "
                        f"Correct the settings of {self.provider.name} and run again."
                    ) from None
            else:
                if value is None:
                    return
                self.store.put(key, value)
                completion = Completion.from_value(key, value)
                self.done += 1
                self.dollars += self.provider.dollars(completion.prompt_tokens, completion.completion_tokens)
            progress.advance(note=f"${self.dollars:,.2f}" if self.dollars else "")

    async def _persist(self, client: openai.AsyncOpenAI, request: Request) -> dict[str, Any] | None:
        """Attempt a call until it is answered; None when the run stops meanwhile."""
        attempts = self.provider.max_retries + 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._attempt(client, request)
            except _Passing as error:
                if attempt == attempts:
                    raise UserError(
                        f"{self.base_url}: a call of model {self.provider.model} failed {attempts} times, the last time with: {error}. "
                        f"Wait until the provider is well again (or raise max_retries)."
                    ) from None
                # Half to all of 0.5, 1, 2, 4, 8, 8, ... seconds: the jitter keeps workers that failed together apart.
                delay = max(error.wait, min(8.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
            try:
                await asyncio.wait_for(self.stopping.wait(), min(delay, LONGEST_WAIT))
                return None
            except TimeoutError:
                continue
        raise AssertionError("unreachable")

    async def _attempt(self, client: openai.AsyncOpenAI, request: Request) -> dict[str, Any]:
        """One attempt; what is kept of its answer: message, finish reason and usage as they came."""
        import openai

        try:
            async with asyncio.timeout(self.provider.timeout):
                response = await client.chat.completions.with_raw_response.create(**request.body(self.provider))
        except (TimeoutError, openai.APITimeoutError):
            raise _Passing(f"no answer within {self.provider.timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise _Passing(f"no connection ({error.__cause__ or error})") from None
        except openai.APIStatusError as error:
            raise self._verdict(error) from None
        try:
            body = json.loads(response.content)
            choice = body["choices"][0]
            value = {"message": dict(choice["message"]), "finish_reason": choice.get("finish_reason"), "usage": body.get("usage")}
            failed = body.get("error") or choice.get("error") or not isinstance(value["message"].get("content") or "", str)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            failed = True
        if failed:
            raise _Passing(f"HTTP {response.status_code} without a completion: {self._excerpt(response.content)}")
        return value

    def _verdict(self, error: openai.APIStatusError) -> Exception:
        """Whether a status is passing, a refusal of this request, or the end of the run."""
        status, found = error.status_code, f"HTTP {error.status_code}: {self._excerpt(error.response.content)}"
        remedies = {
            401: f"Check the key in the environment variable {self.provider.api_key_env}.",
            402: "Top up the provider's credit.",
            403: f"Check what the key in the environment variable {self.provider.api_key_env} may use.",
            404: f"Check that base_url is right and that the provider knows the model {self.provider.model!r}.",
        }
        if status in {408, 409, 429} or status >= 500:
            try:
                wait = float(error.response.headers.get("retry-after", 0))
            except ValueError:  # a date: the usual backoff will do
                wait = 0.0
            return _Passing(found, wait)
        if status in {400, 413, 422}:
            return _Refused(found)
        return UserError(f"{self.base_url}: {found}. {remedies.get(status, 'Check base_url and the settings.')}")

    def _excerpt(self, content: bytes) -> str:
        text = " ".join(content.decode("utf-8", "replace").split())
        if self.provider.api_key_env:
            text = text.replace(self.api_key, "***")
        return text[:300] or "(empty)"
