"""What is read from a value of the store, whatever a provider sent."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from m1.client.completion import MOST_TOKENS, UNKNOWN, Completion, completion_value, counted_tokens, normalised
from providers import provider

COUNTED = {"prompt_tokens": 10, "completion_tokens": 20}


def body(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "\\boxed{A}", "reasoning_content": "think"} | changes.pop("message", {})
    choice = {"message": message, "finish_reason": "stop"} | changes.pop("choice", {})
    return {"model": "m", "choices": [choice], "usage": COUNTED} | changes


ODD: dict[str, dict[str, Any]] = {
    "half a character": body(message={"content": "a \ud800 \\boxed{A}"}),
    "half a character in thinking": body(message={"reasoning_content": "a \udfff b"}),
    "half a character in the reason": body(choice={"finish_reason": "st\ud800p"}),
    "half a character in the model": body(model="m\ud800"),
    "half a character in a name": body(message={"\ud800": 1}),
    "ESC in a name": body(message={"\x1b[31m": 2**64}),
    "NUL": body(message={"content": "a\0 \\boxed{A}"}),
    "finish reason 7": body(choice={"finish_reason": 7}),
    "finish reason true": body(choice={"finish_reason": True}),
    "finish reason in a list": body(choice={"finish_reason": ["stop"]}),
    "finish reason in an object": body(choice={"finish_reason": {"reason": "stop"}}),
    "role in an object": body(message={"role": {"x": 1}}),
    "model 5": body(model=5),
    "model in a list": body(model=["m"]),
    "count of 2^63": body(usage=COUNTED | {"prompt_tokens": 2**63}),
    "count of 10^30": body(usage=COUNTED | {"completion_tokens": 10**30}),
    "count beyond all models": body(usage=COUNTED | {"completion_tokens": MOST_TOKENS + 1}),
    "count NaN": body(usage=COUNTED | {"completion_tokens": float("nan")}),
    "count infinite": body(usage=COUNTED | {"prompt_tokens": float("inf")}),
    "count true": body(usage={"prompt_tokens": True, "completion_tokens": True}),
    "count in a text": body(usage=COUNTED | {"prompt_tokens": "10"}),
    "count negative": body(usage=COUNTED | {"completion_tokens": -20}),
    "usage in a list": body(usage=[10, 20]),
    "usage true": body(usage=True),
    "deeper than any answer": body(message={"annotations": json.loads("[" * 500 + "]" * 500)}),
}


def old_value(sent: dict[str, Any]) -> dict[str, Any]:
    """What an older release kept of a body: as it came."""
    choice, usage = sent["choices"][0], sent["usage"]
    usage = usage if isinstance(usage, dict) else None
    more = {"seconds": 1.0, "served": sent["model"]}
    return {"message": choice["message"], "finish_reason": choice["finish_reason"], "usage": usage, **more}


@pytest.mark.parametrize("age", ["new", "old"])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_is_read_and_can_be_written(name: str, age: str) -> None:
    """Whether it is normalised as it comes, or lies as it came in an older store."""
    value = completion_value(ODD[name], 1.0) if age == "new" else old_value(ODD[name])
    found = Completion.from_value("k", json.loads(json.dumps(value)))
    assert "\\boxed{A}" in found.answer
    assert found.odd or (age == "old" and name.startswith("usage"))
    for text in (found.thinking, found.answer, found.finish_reason, found.served, *found.odd):
        pa.array([text], pa.string())
        assert "\0" not in text
    assert all(text.isprintable() for text in found.odd)
    counts = [found.prompt_tokens, found.completion_tokens, found.thinking_tokens]
    assert pa.array(counts, pa.int64()).to_pylist() == counts
    assert (found.at_most is not None) == (name.startswith(("count", "usage")))
    assert not normalised(completion_value(ODD[name], 1.0) or {})[0].get("odd"), "it is no part of the answer"


def test_a_proper_answer_is_kept_as_it_came() -> None:
    message = {
        "role": "assistant",
        "content": "",
        "reasoning_content": None,
        "annotations": [{"a": 1.5}],
        "audio": None,
    }
    usage = COUNTED | {"total_tokens": 30, "prompt_tokens_details": {"cached_tokens": 3}}
    sent = body(usage=usage)
    sent["choices"][0]["message"] = message
    kept = {"message": message, "finish_reason": "stop", "usage": usage, "seconds": 0.5, "served": "m"}
    assert completion_value(sent, 0.5, at_most=(7, 8)) == kept


@pytest.mark.parametrize("value", [5, None, [], "answer", {}, {"text": "A"}], ids=str)
def test_what_is_no_answer_is_told(value: Any) -> None:
    with pytest.raises(ValueError, match="no answer"):
        Completion.from_value("k", value)


@pytest.mark.parametrize(
    ("usage", "said", "tokens"),
    [
        (COUNTED, True, (10, 20)),
        (COUNTED | {"completion_tokens": 0}, False, (10, 0)),
        (COUNTED | {"completion_tokens": 0}, True, None),
        (COUNTED | {"prompt_tokens": 0}, True, None),
        (COUNTED | {"total_tokens": 30}, True, (10, 20)),
        (COUNTED | {"total_tokens": 1030}, True, (10, 1020)),
        (COUNTED | {"total_tokens": 5}, True, (10, 20)),
        ({"input_tokens": 10, "output_tokens": 20}, True, None),
        ({"prompt_tokens": 10}, True, None),
        ({}, True, None),
        (None, True, None),
    ],
    ids=str,
)
def test_what_counts(usage: Any, said: bool, tokens: tuple[int, int] | None) -> None:
    assert counted_tokens(usage, said) == tokens


def test_what_does_not_count_costs_its_most() -> None:
    sent = body(usage=None)
    known = Completion.from_value("k", completion_value(sent, 1.0, at_most=(1_000_000, 200_000)))
    assert (known.at_most, known.prompt_tokens, known.dollars(provider())) == ((1_000_000, 200_000), 0, 3.0)
    assert Completion.from_value("k", completion_value(sent, 1.0)).at_most == UNKNOWN


def test_a_live_call_has_no_discount_though_batches_be_made_now() -> None:
    batches = provider(batch={"window": "24h", "size": 9, "poll_seconds": 60, "discount": 0.5})
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
    costs = [Completion.from_value("k", completion_value(body(usage=usage), s)).dollars(batches) for s in (1.0, 0.0)]
    assert costs == [2.0, 1.0]
