"""Turn a provider's answer into what the store keeps, and read that back, whatever the answer contains."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from m1.client.provider import THINK, Marks, Provider, Request, Tokens
from m1.core.errors import UserError
from m1.core.store import Store

REFUSED = "refused"
"""Finish reason of a call that the provider rejected for its content, for example by a content filter."""
MOST_TOKENS = 100_000_000
"""Larger counts are ignored as errors, because no model reads or writes so many tokens in one call."""
UNKNOWN: Tokens = (0, 0)
"""Tokens of a call whose usage is missing or wrong, if no bound is known either."""
_COUNTS = ("prompt_tokens", "completion_tokens")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates: JSON can contain them, but text files cannot."""
_DEEPEST = 32
_ODD_SHOWN = 60  # how many characters of an odd value messages show


@dataclass(frozen=True)
class Completion:
    """An answer of a provider, as read from the store."""

    key: str
    thinking: str
    answer: str
    finish_reason: str
    """As sent (``stop``, ``length``, ``content_filter``, …), an empty text if it was none, or :data:`REFUSED`."""
    prompt_tokens: int
    completion_tokens: int
    """Tokens as the provider counts and bills them; 0 if it does not say."""
    thinking_tokens: int = 0
    """As the provider counts them, else the completion's tokens in proportion to the characters of the thinking."""
    seconds: float = 0.0
    """Duration of the attempt; 0 if unknown, as in a batch."""
    at_most: Tokens | None = None
    """The most tokens that the call may have used, if the provider's usage is missing or wrong; else None."""
    served: str = ""
    """The model that answered, according to the provider; empty if it does not say."""
    odd: tuple[str, ...] = ()
    """Descriptions of unusual contents that were changed or left out."""

    @property
    def answer_tokens(self) -> int:
        return self.completion_tokens - self.thinking_tokens

    def dollars(self, provider: Provider) -> float:
        """The cost of the call by the provider's count or, without one, the most that it may have cost."""
        tokens = self.at_most or (self.prompt_tokens, self.completion_tokens)
        return provider.dollars(*tokens, live=self.seconds > 0)

    @classmethod
    def from_value(cls, key: str, value: Any, marks: Marks = THINK) -> Completion:
        """Read a value of the store; :func:`split_message` separates thinking and answer.

        Raises:
            ValueError: the value is not an answer.
        """
        value, odd = normalised(value)
        if "refused" in value:
            return cls(key, "", "", REFUSED, 0, 0)
        thinking, answer = split_message(value["message"], marks)
        usage = value["usage"]
        tokens, at_most, thought = counted_tokens(usage, bool(thinking or answer)), None, 0
        if tokens:
            thought = _count(usage.get("completion_tokens_details"), "reasoning_tokens") or 0
            if thinking and not thought:
                thought = round(tokens[1] * len(thinking) / (len(thinking) + len(answer)))
            thought = min(thought, tokens[1])
        else:
            prompt, completion = (_count(value.get("at_most"), name) or 0 for name in _COUNTS)
            tokens, at_most = UNKNOWN, (prompt, completion)
        said, served = (key, thinking, answer, value["finish_reason"] or ""), value["served"] or ""
        return cls(*said, *tokens, thought, value["seconds"], at_most, served, tuple(odd))


def stored_completion(store: Store, key: str, provider: Provider, request: Request | None) -> Completion:
    """Read the answer of a key that is in the store; ``request`` bounds its cost if its usage is missing or wrong.

    Raises:
        UserError: the record is not an answer.
    """
    try:
        completion = Completion.from_value(key, store.get(key), provider.marks)
    except ValueError as error:
        raise UserError(f"{store.folder}: {name_call(key, request)}: {error}. {forget_remedy(store, key)}") from None
    if completion.at_most == UNKNOWN and request:
        return replace(completion, at_most=request.most_tokens(provider))
    return completion


def name_call(key: str, request: Request | None) -> str:
    """The name of a call in messages: its question, if known, and its key."""
    return f"question {request.question} (key {key})" if request and request.question else f"key {key}"


def forget_remedy(store: Store, key: str) -> str:
    """The command that has a call asked again, for messages."""
    return f"To have it asked again: python -m m1 store forget --key {key} {store.folder}"


def completion_value(body: Any, seconds: float, at_most: Tokens | None = None) -> dict[str, Any] | None:
    """Extract what the store keeps from the body (parsed JSON) of a 200; None if the body holds no completion.

    The attempt took so many ``seconds`` (0.0 if unknown). ``at_most``, the most tokens that the call may have used, is
    kept if its usage is missing or wrong.
    """
    try:
        choice = body["choices"][0]
        message, usage = dict(choice["message"]), body.get("usage")
        if body.get("error") or choice.get("error") or not isinstance(message.get("content") or "", str):
            return None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    value = {
        "message": message,
        "finish_reason": choice.get("finish_reason"),
        "usage": usage,
        "seconds": round(seconds, 3),
        "served": body.get("model"),
    }
    value, odd = normalised(value)
    if counted_tokens(value["usage"], any(split_message(value["message"]))) is None and at_most:
        value["at_most"] = dict(zip(_COUNTS, at_most))
    return value | ({"odd": odd} if odd else {})


def normalised(value: Any) -> tuple[dict[str, Any], list[str]]:
    """Normalise a value of the store so that texts are texts and numbers are finite, and describe what was odd in it.

    This is done when a value is received, and again when it is read, because older stores hold other values.

    Raises:
        ValueError: the value is not an answer.
    """
    if not isinstance(value, dict) or not ("message" in value or "refused" in value):
        raise ValueError(f"the record is no answer ({_shown(value)})")
    odd: list[str] = []
    value = _sound(value, "", odd)
    before = value.pop("odd", None)
    odd = [*map(str, before if isinstance(before, list) else ()), *odd]
    if "refused" in value:
        return value, odd

    def expect(record: dict[str, Any], name: str, kind: type, place: str = "") -> None:
        found = record.get(name)
        if found is not None and not isinstance(found, kind):
            odd.append(f"{place}{name} is {_shown(found)} (left out)")
            record[name] = None

    for name, kind in (("message", dict), ("finish_reason", str), ("usage", dict), ("served", str)):
        expect(value, name, kind)
    value = {"finish_reason": None, "usage": None, "served": None, "seconds": 0.0} | value
    value["message"] = message = value["message"] or {}
    if isinstance(value["seconds"], bool) or not isinstance(value["seconds"], (int, float)):
        value["seconds"] = 0.0
    if "content" in message and not message["content"] and not isinstance(message["content"], str):
        message["content"] = None  # some providers send 0 or an empty list for no content
    for name in ("role", "content"):
        expect(message, name, str, "message.")
    for name in _COUNTS:
        found = (value["usage"] or {}).get(name)
        if found is not None and _count(value["usage"], name) is None:
            odd.append(f"usage.{name} is {_shown(found)} (not counted)")
    return value, list(dict.fromkeys(odd))


def _sound(value: Any, place: str, odd: list[str], depth: int = 0) -> Any:
    """JSON without unusable characters, numbers beyond 64 bits and deep nesting; ``odd`` collects what was changed."""
    if isinstance(value, str):
        if not _is_text(value):
            odd.append(f"{place or 'a name'} holds NUL or half a character (now U+FFFD)")
            return _UNUSABLE.sub("\ufffd", value)
        return value
    if isinstance(value, (dict, list)):
        if depth == _DEEPEST:
            odd.append(f"{place} is nested more than {_DEEPEST} deep (left out)")
            return None
        if isinstance(value, list):
            return [_sound(one, place, odd, depth + 1) for one in value]
        names = {name: _sound(name, place, odd, depth + 1) for name in value}
        inside = f"{place}." if place else ""
        return {
            names[name]: _sound(one, inside + ascii(names[name])[1:-1][:_ODD_SHOWN], odd, depth + 1)
            for name, one in value.items()
        }
    if (isinstance(value, int) and abs(value) >= 2**63) or (isinstance(value, float) and not math.isfinite(value)):
        odd.append(f"{place} is {_shown(value)} (left out)")
        return None
    return value


def _is_text(value: str) -> bool:
    """Whether a text has no character of :data:`_UNUSABLE`; twenty times as fast as the pattern."""
    if "\0" in value:
        return False
    with suppress(UnicodeEncodeError):
        return value.isascii() or bool(value.encode())
    return False


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _ODD_SHOWN else text[:_ODD_SHOWN] + "…"


def counted_tokens(usage: Any, said: bool) -> Tokens | None:
    """Tokens of prompt and completion as the provider bills them; None if its counts are missing or impossible.

    A prompt has at least one token, and so has an answer that is not empty (``said``).
    """
    prompt, completion, total = (_count(usage, name) for name in (*_COUNTS, "total_tokens"))
    if not prompt or completion is None or (said and not completion):
        return None
    # Some providers (Gemini, xAI) count thinking only in the total, and bill it.
    return prompt, completion if total is None else max(completion, total - prompt)


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def split_message(message: Mapping[str, Any], marks: Marks = THINK) -> tuple[str, str]:
    """Split an assistant's message into thinking and answer, both stripped.

    Thinking is the field ``reasoning_content`` (DeepSeek, SGLang, SiliconFlow, transformers) or ``reasoning`` (vLLM,
    OpenRouter). Otherwise it is the text before the second of the two ``marks``. The first mark may be missing, because
    a chat template may open the thinking. If the second mark is missing, everything is thinking if the text begins with
    the first mark, and everything is answer if it does not.
    """
    content, (start, end) = (message.get("content") or "").strip(), marks
    for name in ("reasoning_content", "reasoning"):
        if thinking := str(message.get(name) or "").strip():
            return thinking, content
    thinking, mark, answer = content.partition(end)
    opened = start is not None and content.startswith(start)
    if not mark and not opened:
        return "", content
    return thinking.strip().removeprefix(start or "").strip(), answer.strip()
