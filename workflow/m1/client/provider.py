"""Providers (models behind a URL) and the requests that are sent to them (B.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.keys import OPEN, check_address, check_fields, check_variable, is_open
from m1.core.progress import say

Tokens = tuple[int, int]
"""Numbers of tokens of prompt and completion."""
Marks = tuple[str | None, str]
"""The text before thinking (None if there is none), and the text between thinking and answer."""
THINK: Marks = ("<think>", "</think>")
"""The marks of DeepSeek-R1, Qwen3 and most others."""
_LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
_NOT_EXTRA = {"model", "messages", "n", "stream", "seed", *_LIMIT_FIELDS}
"""Fields of a request that ``extra`` must not set: they are set elsewhere, or change the form of the answer."""
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

    ``workflow/schemas/config.schema.yaml`` has the meaning and unit of each setting.
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
    """The most calls in flight; :class:`m1.client.pace.Pace` decides how many there are."""
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
    """Rule of :func:`m1.core.curation.passes_curation` for a teacher; None for other providers."""
    notes: str | None
    """File of scope notes for a labeller (:func:`m1.select.rubrics.with_notes`); None for the package's own."""
    served_as: list[str] | None = None
    """Further names under which the model answers."""
    thinking_start: str | None = THINK[0]
    thinking_end: str = THINK[1]
    """The marks that separate thinking and answer if a message has both in one text; see :attr:`marks`."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], title: str) -> Provider:
        """Make a provider from its settings, and check them; ``title`` is their name in the configuration.

        Raises:
            UserError: a key is missing, unknown, of a wrong type or out of range.
        """
        kinds = {one.name: [kind.partition("[")[0] for kind in str(one.type).split(" | ")] for one in fields(cls)}
        settings = {**{one.name: one.default for one in fields(cls) if one.default is not MISSING}, **settings}
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
        if not all(isinstance(name, str) for name in provider.served_as or ()):
            raise UserError(f"{title}.served_as: {provider.served_as}; a list of names is needed.")
        if "" in provider.marks:
            raise UserError(f"{title}: thinking_start and thinking_end are marks in a text and cannot be empty.")
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

    @property
    def marks(self) -> Marks:
        """The marks of thinking; the store keeps messages as they arrived, so changing the marks asks nothing again."""
        return self.thinking_start, self.thinking_end

    def is_served_by(self, served: str | None) -> bool:
        """Whether an answer under this name comes from the model that was asked; one without a name is believed."""
        return not served or any(_is_same_model(name, served) for name in (self.model, *(self.served_as or ())))

    def other_model(self, served: str) -> str:
        """The message that another model answered."""
        remedy = f"If they are the same, name {served!r} in served_as of {self.name}; else correct model or base_url."
        return f"{served!r} answered, and {self.model!r} was asked; the answer is not kept. {remedy}"

    def dollars(self, prompt_tokens: int, completion_tokens: int, live: bool = False) -> float:
        """The cost of a call in dollars; a ``live`` call gets no discount, even if the provider makes batches now."""
        discount = self.batch["discount"] if self.batch and not live else 1.0
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) * discount / 1e6


_DATED = re.compile(r"[-@_:.]((\d{4}-)?\d\d-\d\d|\d\d-\d{4}|\d{8}|\d{6}|\d{4}|0\d\d)")
"""The version that a provider appends to a model's name, as in gpt-4o-2024-11-20, claude-…-20241022, deepseek-r1-0528
or gemini-1.5-pro-002."""


def _is_same_model(asked: str, served: str) -> bool:
    """Whether two names mean one model; letter case, the path before the name and an appended version do not count."""
    if "@" not in asked:  # the server of transformers answers as name@revision, with @main if none was asked for
        served = re.sub("(?<=[^/])@.*", "", served)

    def parts(name: str) -> list[str]:
        return re.sub("[-:]latest$", "", name.strip().casefold()).split("/")

    *path, name = parts(asked)
    *served_path, found = parts(served)
    common = min(len(path), len(served_path))
    if path[len(path) - common :] != served_path[len(served_path) - common :]:
        return False
    return found == name or (found.startswith(name) and bool(_DATED.fullmatch(found[len(name) :])))


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
        raise UserError(f"{title}.discount: {discount}; give the share of the price that is left to pay, from 0 to 1.")


@dataclass(frozen=True)
class Request:
    """A call: one user turn, after an optional system turn."""

    prompt: str
    seed: int | None = None
    system: str | None = None
    question: str = field(default="", compare=False)
    """Id of the question, for messages."""

    def body(self, provider: Provider) -> dict[str, Any]:
        """The body of the HTTP request: model, messages and sampling settings, which together decide the answer."""
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
        """The key of the call in the store: the digest of its body."""
        return digest(self.body(provider))

    def bytes(self, provider: Provider) -> int:
        """Length of the body in bytes. It bounds the tokens of prompt and chat template, as each has a byte or more."""
        return len(json.dumps(self.body(provider), ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def most_tokens(self, provider: Provider) -> Tokens:
        """The most tokens of prompt and completion that the call may use.

        A budget of thinking in ``extra`` is added to the limit, because some providers (SiliconFlow) count it apart.
        """
        return self.bytes(provider), provider.max_tokens + _budgets(provider.extra)

    def most_dollars(self, provider: Provider) -> float:
        """The most that the call may cost, in dollars."""
        return provider.dollars(*self.most_tokens(provider))


def _budgets(extra: Mapping[str, Any]) -> int:
    """Tokens that the further fields of a request allow: the sum of all budgets and limits, at any depth."""
    inside = sum(_budgets(value) for value in extra.values() if isinstance(value, dict))
    named = [value for name, value in extra.items() if "budget" in name or "tokens" in name]
    return inside + sum(value for value in named if type(value) is int and value > 0)
