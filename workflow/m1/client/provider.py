"""What is asked of whom, what came back, and what it cost: providers, requests, completions and spending (B.1)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.keys import OPEN, check_address, check_fields, check_variable, is_open
from m1.core.progress import say
from m1.core.store import Store

REFUSED = "refused"
"""Finish reason of a call that the provider rejects for what it asks, for example by a content filter."""

_LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
_NOT_EXTRA = {"model", "messages", "n", "stream", "seed", *_LIMIT_FIELDS}
"""Fields of a request that are set elsewhere, or that would make another kind of answer than one message."""
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "list": list, "dict": dict, "None": type(None)}
_BATCH: dict[str, Any] = {"window": str, "size": int, "poll_seconds": (int, float), "discount": (int, float)}
_RANGES: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("at least 1", lambda value: value >= 1, ("concurrency", "max_tokens")),
    ("at least 0", lambda value: value >= 0, ("max_retries", "price_prompt", "price_completion", "max_dollars")),
    ("more than 0", lambda value: value > 0, ("timeout", "requests_per_minute", "tokens_per_minute", "deadline")),
)


@dataclass(frozen=True)
class Provider:
    """A model behind a URL: ``teacher``, ``labeller`` or one of ``screen.providers`` in the configuration.

    What each setting means, and in what unit, is said in ``workflow/schemas/config.schema.yaml``.
    """

    name: str
    model: str
    base_url: str | None
    serve: list[str] | None
    serve_seconds: float
    api_key_env: str | None
    """Environment variable that holds the key; the key itself is never written anywhere."""
    temperature: float | None
    max_tokens: int
    """Limit of thinking and answer together (8,000 in the paper)."""
    limit_field: str
    extra: dict[str, Any]
    """Further fields of the request's body; they may override ``temperature``."""
    concurrency: int
    """Calls at a time, at most; see :class:`m1.client.pace.Pace`."""
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout: float
    deadline: float | None
    max_retries: int
    price_prompt: float
    price_completion: float
    max_dollars: float | None
    batch: dict[str, Any] | None
    """Settings of the batch endpoint (see :mod:`m1.client.batch`); None for live calls."""
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
        kinds = {one.name: [kind.partition("[")[0] for kind in str(one.type).split(" | ")] for one in fields(cls)}
        _check_names(settings, list(kinds), title)
        check_variable(settings["api_key_env"], f"{title}.api_key_env")
        check_address(settings["base_url"], f"{title}.base_url")
        check_fields(settings["extra"], f"{title}.extra")
        for name, kind in kinds.items():
            value = settings[name]
            if isinstance(value, bool) or not any(isinstance(value, _KINDS[one]) for one in kind):
                shown = "a text" if name == "extra" and isinstance(value, str) else repr(value)  # it may be a key
                raise UserError(f"{title}.{name}: {shown}; {' or '.join(kind).replace('None', 'null')} is needed.")
        provider = cls(**settings)
        for words, fits, names in _RANGES:
            for name in names:
                if (value := settings[name]) is not None and not fits(value):
                    raise UserError(f"{title}.{name}: {value}; {words} is needed.")
        if (provider.base_url is None) == (provider.serve is None):
            both = "base_url (a provider that runs) and serve (a server to start)"
            raise UserError(f"{title}: exactly one of {both} is needed; the other is null.")
        if provider.limit_field not in _LIMIT_FIELDS:
            raise UserError(f"{title}.limit_field: {provider.limit_field!r}; {' or '.join(_LIMIT_FIELDS)} is needed.")
        if taken := sorted(_NOT_EXTRA & provider.extra.keys()):
            raise UserError(f"{title}.extra: {', '.join(taken)} cannot be given here.")
        if provider.batch is not None:
            _check_batch(provider.batch, f"{title}.batch")
        if provider.api_key_env and is_open(provider.base_url):
            say(title, f"{provider.base_url}: {OPEN}")
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


def _check_batch(batch: Mapping[str, Any], title: str) -> None:
    _check_names(batch, list(_BATCH), title)
    for name, kind in _BATCH.items():
        value = batch[name]
        is_kind = isinstance(value, kind) and not isinstance(value, bool)
        if not is_kind or (name == "size" and value < 1) or (name == "poll_seconds" and value <= 0):
            needed = "window is a text such as '24h', size and poll_seconds are numbers above 0"
            raise UserError(f"{title}.{name}: {value!r}; {needed}.")
    if not 0 <= (discount := batch["discount"]) <= 1:
        raise UserError(f"{title}.discount: {discount}; the share of the price that is left, 0 to 1, is needed.")


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
        """Length of the body: a bound of its tokens and the chat template's, since a token is at least a byte."""
        return len(json.dumps(self.body(provider), ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def most_dollars(self, provider: Provider) -> float:
        """The worst case; some providers (SiliconFlow) count a ``thinking_budget`` beside the limit, not in it."""
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
    """Of the attempt; 0 where it is not known."""

    @property
    def answer_tokens(self) -> int:
        return self.completion_tokens - self.thinking_tokens

    def dollars(self, provider: Provider) -> float:
        return provider.dollars(self.prompt_tokens, self.completion_tokens)

    @classmethod
    def from_value(cls, key: str, value: Mapping[str, Any]) -> Completion:
        """Read a value of the store; see :func:`split_message` for how thinking is found."""
        if "refused" in value:
            return cls(key, "", "", REFUSED, 0, 0)
        thinking, answer = split_message(value["message"])
        usage = value["usage"] or {}
        completion_tokens = _count(usage, "completion_tokens")
        thinking_tokens = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
        if thinking and not thinking_tokens:
            thinking_tokens = round(completion_tokens * len(thinking) / (len(thinking) + len(answer)))
        finish_reason, seconds = value["finish_reason"] or "", value.get("seconds") or 0.0
        tokens = _count(usage, "prompt_tokens"), completion_tokens, min(thinking_tokens, completion_tokens)
        return cls(key, thinking, answer, finish_reason, *tokens, seconds)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def split_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Thinking and answer of an assistant's message, stripped.

    Thinking comes as ``reasoning_content`` (DeepSeek, SGLang, SiliconFlow), as ``reasoning`` (vLLM, OpenRouter), inline
    as ``<think>...</think>``, or with the closing tag only, where the chat template opens it.
    """
    content = message.get("content") or ""
    for name in ("reasoning_content", "reasoning"):
        if thinking := str(message.get(name) or "").strip():
            return thinking, content.strip()
    thinking, tag, answer = content.partition("</think>")
    if tag:
        return thinking.strip().removeprefix("<think>").strip(), answer.strip()
    if content.lstrip().startswith("<think>"):  # cut by the token limit while thinking
        return content.strip().removeprefix("<think>").strip(), ""
    return "", content.strip()


class Ledger:
    """Tokens and dollars of one run's answers, and what ``max_dollars`` still allows beside the calls of the store."""

    def __init__(self, provider: Provider, store: Store) -> None:
        self.provider = provider
        self.answered = 0
        self.cut = 0
        """Answers that the token limit cut."""
        self.tokens: Counter[str] = Counter()
        """``prompt``, ``thinking``, ``answer``, ``completion``."""
        self.dollars = 0.0
        self.paid = 0.0
        """Dollars of all calls of the store; what may have been billed counts at its worst."""
        self.reserved = 0.0
        """Dollars that the calls in flight may cost at the worst."""
        if provider.max_dollars is not None:  # a refused call has no tokens, and costs nothing
            self.paid = sum(Completion.from_value(key, store.get(key)).dollars(provider) for key in store)

    def add(self, completion: Completion) -> None:
        cost = completion.dollars(self.provider)
        self.paid += cost
        self.dollars += cost
        self.answered += 1
        self.cut += completion.finish_reason == "length"
        for name in ("prompt", "thinking", "answer", "completion"):
            self.tokens[name] += getattr(completion, f"{name}_tokens")

    @property
    def room(self) -> float | None:
        """Dollars that are not paid yet; None for no limit."""
        return None if self.provider.max_dollars is None else self.provider.max_dollars - self.paid

    def affords(self, worst: float) -> bool:
        """Whether a call may be sent that costs ``worst`` dollars at most."""
        limit = self.provider.max_dollars
        return limit is None or self.paid + self.reserved + worst <= limit

    def limit_error(self, worst: float) -> UserError:
        paid = f"${self.paid:,.4f} are paid (answers that were lost on the way at their most)"
        passed = f"max_dollars, {self.provider.max_dollars:,.4f}, would be passed. Raise max_dollars and run again."
        return UserError(f"{self.provider.name}: {paid}, and the next call may cost ${worst:,.4f}: {passed}")


@dataclass(frozen=True)
class Spending:
    """What the distinct calls of one :func:`m1.client.complete.complete_all` cost, and what of it was paid before.

    ``calls`` have an answer, ``calls_made`` of them since this run; others are ``refused`` for what they ask. The token
    limit has ``cut`` so many answers. ``failures`` counts attempts of this run by their kind.
    """

    calls: int = 0
    calls_made: int = 0
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    dollars_now: float = 0.0
    refused: int = 0
    cut: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens:,} + {self.thinking_tokens:,} + {self.answer_tokens:,} tokens"
        parts = [
            f"{self.calls_made:,} calls made",
            f"{self.calls - self.calls_made:,} from the store",
            f"{tokens} (prompt, thinking, answer)",
            f"${self.dollars:,.2f} in all",
            f"${self.dollars_now:,.2f} now",
            *[f"{count:,} {name}" for name, count in (("refused", self.refused), ("cut", self.cut)) if count],
        ]
        return ", ".join(parts)

    def __add__(self, other: Spending) -> Spending:
        mine, others = asdict(self), asdict(other)
        failures = dict(Counter(mine.pop("failures")) + Counter(others.pop("failures")))
        return Spending(**{name: mine[name] + others[name] for name in mine}, failures=failures)

    @classmethod
    def from_store(
        cls, keys: Mapping[str, Any], new: set[str], failures: Mapping[str, int], provider: Provider, store: Store
    ) -> Spending:
        """Add up the calls ``keys``, which are in the store; those of ``new`` were answered now."""
        totals: Counter[str] = Counter()
        dollars = dollars_now = 0.0
        for key in keys:
            completion = Completion.from_value(key, store.get(key))
            if completion.finish_reason == REFUSED:
                totals["refused"] += 1
                continue
            cost = completion.dollars(provider)
            dollars += cost
            dollars_now += cost * (key in new)
            totals["calls"] += 1
            totals["calls_made"] += key in new
            totals["cut"] += completion.finish_reason == "length"
            for name in ("prompt_tokens", "thinking_tokens", "answer_tokens", "completion_tokens"):
                totals[name] += getattr(completion, name)
        rounded = round(dollars, 6), round(dollars_now, 6)
        return cls(**totals, dollars=rounded[0], dollars_now=rounded[1], failures=dict(sorted(failures.items())))
