"""What is asked of whom, and what came back: providers, requests and completions (B.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from m1.core.errors import UserError
from m1.core.files import digest

REFUSED = "refused"
"""Finish reason of a call that the provider rejects for what it asks, for example by a content filter."""

_LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
_NOT_EXTRA = {"model", "messages", "n", "stream", "seed", *_LIMIT_FIELDS}
"""Fields of a request that are set elsewhere, or that would make another kind of answer than one message."""
_BATCH: dict[str, Any] = {"window": str, "size": int, "poll_seconds": (int, float), "discount": (int, float)}
_LEAST = {
    "concurrency": 1,
    "max_tokens": 1,
    "max_retries": 0,
    "price_prompt": 0,
    "price_completion": 0,
    "max_dollars": 0,
}
_POSITIVE = ("timeout", "requests_per_minute", "tokens_per_minute", "deadline")


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
    """Environment variable that holds the key; None where none is needed. The key itself is never written anywhere."""
    temperature: float | None
    """None for the provider's default."""
    max_tokens: int
    """Limit of thinking and answer together (8,000 in the paper)."""
    limit_field: str
    """What the provider calls that limit: ``max_tokens`` or ``max_completion_tokens``."""
    extra: dict[str, Any]
    """Further fields of the request's body; they may override ``temperature``."""
    concurrency: int
    """Calls at a time, at most; see :class:`m1.client.pace.Pace`."""
    requests_per_minute: float | None
    tokens_per_minute: float | None
    """Prompt, thinking and answer together."""
    timeout: float
    """Seconds for one attempt."""
    deadline: float | None
    """Seconds after which one run sends no more calls."""
    max_retries: int
    """Further attempts at one call; being told to slow down (429) is no failure."""
    price_prompt: float
    """Dollars for a million tokens of prompt."""
    price_completion: float
    """Dollars for a million tokens of thinking and answer."""
    max_dollars: float | None
    """What all calls of a store's folder together may cost."""
    batch: dict[str, Any] | None
    """Settings of the provider's batch endpoint (see :mod:`m1.client.batch`); None for live calls."""
    rule: str | None
    """Rule of :func:`m1.core.curation.passes_curation` for a teacher; None for another."""
    notes: str | None
    """File of scope notes for a labeller (:func:`m1.select.rubrics.with_notes`); None for those of the package."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], title: str) -> Provider:
        """Check the settings; ``title`` is their name in the configuration.

        Raises:
            UserError: a key is missing, unknown, of a wrong kind or out of range.
        """
        kinds = {field.name: [kind.partition("[")[0] for kind in str(field.type).split(" | ")] for field in fields(cls)}
        known: dict[str, Any] = {
            "str": str,
            "int": int,
            "float": (int, float),
            "list": list,
            "dict": dict,
            "None": type(None),
        }
        _check_names(settings, list(kinds), title)
        for name, kind in kinds.items():
            value = settings[name]
            if isinstance(value, bool) or not any(isinstance(value, known[one]) for one in kind):
                raise UserError(f"{title}.{name}: {value!r}; {' or '.join(kind).replace('None', 'null')} is needed.")
        provider = cls(**settings)
        for name, least in _LEAST.items():
            if (value := getattr(provider, name)) is not None and not value >= least:
                raise UserError(f"{title}.{name}: {value}; at least {least} is needed.")
        for name in _POSITIVE:
            if (value := getattr(provider, name)) is not None and not value > 0:
                raise UserError(f"{title}.{name}: {value}; more than 0 is needed.")
        if (provider.base_url is None) == (provider.serve is None):
            raise UserError(
                f"{title}: exactly one of base_url (a provider that runs) and serve (a server to start) is "
                "needed; the other is null."
            )
        if provider.base_url is not None:
            _check_url(provider.base_url, f"{title}.base_url")
        if provider.limit_field not in _LIMIT_FIELDS:
            raise UserError(f"{title}.limit_field: {provider.limit_field!r}; {' or '.join(_LIMIT_FIELDS)} is needed.")
        if taken := sorted(_NOT_EXTRA & provider.extra.keys()):
            raise UserError(f"{title}.extra: {', '.join(taken)} cannot be given here.")
        if provider.batch is not None:
            _check_batch(provider.batch, f"{title}.batch")
        return provider

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call costs."""
        discount = self.batch["discount"] if self.batch else 1.0
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) * discount / 1e6


def _check_names(settings: Mapping[str, Any], names: list[str], title: str) -> None:
    if missing := [name for name in names if name not in settings]:
        raise UserError(f"{title}: no key {', '.join(missing)}. All of {', '.join(names)} are needed.")
    if unknown := [name for name in settings if name not in names]:
        raise UserError(f"{title}: unknown key {', '.join(unknown)}. Known are {', '.join(names)}.")


def _check_url(url: str, title: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise UserError(f"{title}: {url!r}; a URL such as https://host/v1 is needed.")
    if parts.username is not None:
        raise UserError(f"{title}: it holds a name or password. Give the key by api_key_env.")


def _check_batch(batch: Mapping[str, Any], title: str) -> None:
    _check_names(batch, list(_BATCH), title)
    for name, kind in _BATCH.items():
        value = batch[name]
        if (
            isinstance(value, bool)
            or not isinstance(value, kind)
            or (name == "size" and value < 1)
            or (name == "poll_seconds" and value <= 0)
        ):
            raise UserError(
                f"{title}.{name}: {value!r}; window is a text such as '24h', size and poll_seconds are numbers above 0."
            )
    if not 0 <= batch["discount"] <= 1:
        raise UserError(
            f"{title}.discount: {batch['discount']}; the share of the price that is left, 0 to 1, is needed."
        )


@dataclass(frozen=True)
class Request:
    """One user turn, after a system turn where there is one; ``seed`` is sent where given."""

    prompt: str
    seed: int | None = None
    system: str | None = None

    def body(self, provider: Provider) -> dict[str, Any]:
        """What decides the answer: model, messages and sampling settings."""
        turns = {"system": self.system, "user": self.prompt}
        body = {
            "model": provider.model,
            "messages": [{"role": role, "content": text} for role, text in turns.items() if text is not None],
            "temperature": provider.temperature,
            provider.limit_field: provider.max_tokens,
            **provider.extra,
            "seed": self.seed,
        }
        return {name: value for name, value in body.items() if value is not None}

    def key(self, provider: Provider) -> str:
        """Key of the call in the store."""
        return digest(self.body(provider))

    def bytes(self, provider: Provider) -> int:
        """Length of the body: a bound of its tokens, those of the chat template included, since a token is at least a
        byte."""
        return len(json.dumps(self.body(provider), ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def most_dollars(self, provider: Provider) -> float:
        """What the call costs at the worst. Some providers count a ``thinking_budget`` beside the limit, not in it
        (SiliconFlow)."""
        budget = provider.extra.get("thinking_budget")
        return provider.dollars(self.bytes(provider), provider.max_tokens + (budget if isinstance(budget, int) else 0))


@dataclass(frozen=True)
class Completion:
    """An answer, read from what the store keeps of it."""

    key: str
    thinking: str
    answer: str
    finish_reason: str
    """As sent (``stop``, ``length``, ``content_filter``, ...), or :data:`REFUSED`."""
    prompt_tokens: int
    completion_tokens: int
    """Tokens as the provider counts and bills them; 0 where it does not say."""
    thinking_tokens: int = 0
    """As the provider counts them, else the completion's tokens shared out by the characters of thinking and answer."""
    seconds: float = 0.0
    """Of the attempt that was answered; 0 where it is not known."""

    @property
    def answer_tokens(self) -> int:
        """The completion's other tokens."""
        return self.completion_tokens - self.thinking_tokens

    @classmethod
    def from_value(cls, key: str, value: Mapping[str, Any]) -> Completion:
        """Read a value of the store; see :func:`split_message` for how thinking is found."""
        if "refused" in value:
            return cls(key, "", "", REFUSED, 0, 0)
        thinking, answer = split_message(value["message"])
        usage = value["usage"] or {}
        completion_tokens = _count(usage, "completion_tokens")
        details = usage.get("completion_tokens_details")
        thinking_tokens = _count(details if isinstance(details, dict) else {}, "reasoning_tokens")
        if thinking and not thinking_tokens:
            thinking_tokens = round(completion_tokens * len(thinking) / (len(thinking) + len(answer)))
        return cls(
            key,
            thinking,
            answer,
            value["finish_reason"] or "",
            _count(usage, "prompt_tokens"),
            completion_tokens,
            min(thinking_tokens, completion_tokens),
            value.get("seconds") or 0.0,
        )


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def split_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Thinking and answer of an assistant's message, stripped.

    Thinking comes as ``reasoning_content`` (DeepSeek, SGLang, SiliconFlow), as ``reasoning`` (vLLM, OpenRouter), inline
    as ``<think>...</think>``, or with the closing tag only, where the chat template opens it.
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
