"""The engines: one meaning of a request on all of them, servers that fail in every way, and what the store keeps."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fake_gpus import fake_driver
from generations import check_the_last_place, generated, requests
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.store import Store
from m1.engines import cached, openai, transformers
from m1.engines.cached import ENGINES, CachedEngine, open_engine
from m1.engines.openai import OpenAIEngine, OpenAIOptions
from m1.engines.protocol import Generation, ModelFacts, Request, to_generation
from m1.engines.settings import AnswerNote, ServeRuntime, ServeSettings
from m1.engines.sglang import PYTHON, SglangEngine, SglangOptions
from m1.engines.transformers import TransformersEngine
from m1.wiring.config import load
from m1.wiring.run import Run
from m1.wiring.schema import SCHEMA, runtime_keys
from m1.wiring.screen import ScreenRules
from random_model import STOP, random_model
from runs import wildcards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(folder, "float32", batch=8)


class Server:
    """A server of ``/v1/completions`` over the transformers engine, on the loopback.

    ``answers`` are given first, one for each call: state, body and headers; None answers as it should, -1 cuts the
    connection.
    """

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine, self.lock = engine, threading.Lock()
        self.answers: list[tuple[int, str, dict[str, str]] | None] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.models: list[dict[str, Any]] = [{"id": "m1", "max_model_len": 512}]
        self.change: Callable[[dict[str, Any]], object] = lambda choice: None

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(tuple(body["prompt"]), body["max_tokens"], tuple(body["stop_token_ids"]))
        with self.lock:
            (found,) = generated(self.engine, [request])
            self.bodies.append(body)
        # The stop token itself is not kept by the engine; a real server returns it, and any of them will do.
        ids = [*found.token_ids, *([STOP[0]] if found.finish_reason == "stop" else [])]
        choice = {"index": 0, "token_ids": ids, "finish_reason": found.finish_reason}
        self.change(choice)
        return {"choices": [choice]}


@pytest.fixture
def server(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str]]:
    made = Server(engine)

    class Handler(BaseHTTPRequestHandler):
        def reply(self, give: Callable[[], Any]) -> None:
            made.headers.append(self.headers)
            state, text, headers = (made.answers.pop(0) if made.answers else None) or (200, json.dumps(give()), {})
            if state == -1:
                self.close_connection = True
                return
            self.send_response(state)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self.reply(lambda: {"data": made.models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(lambda: made.completion(body))

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(openai, "WAITS", (0.001, 0.001))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield made, f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


@pytest.mark.server
def test_a_server_gives_what_the_engine_behind_it_gives(
    server: tuple[Server, str], folder: Path, engine: TransformersEngine
) -> None:
    asked = requests(40, 30)
    expected = generated(engine, asked)
    assert {generation.finish_reason for generation in expected} == {"stop", "length"}
    assert generated(OpenAIEngine(folder, 7, OpenAIOptions(server[1])), asked) == expected
    body = server[0].bodies[0]
    assert (body["model"], body["temperature"], body["repetition_penalty"], body["return_token_ids"]) == (
        "m1",
        0.0,
        1.0,
        True,
    )


@pytest.mark.server
def test_a_stop_token_at_the_very_last_place_is_a_stop(
    server: tuple[Server, str], folder: Path, engine: TransformersEngine
) -> None:
    check_the_last_place(engine, requests(20, 60))
    check_the_last_place(OpenAIEngine(folder, 7, OpenAIOptions(server[1])), requests(20, 60))


@pytest.mark.server
@pytest.mark.parametrize(
    "trouble",
    [
        (503, "busy", {}),
        (429, "slower", {}),
        (408, "", {}),
        (200, "", {}),
        (200, "<html>", {}),
        (200, '{"error": "x"}', {}),
        (-1, "", {}),
     (200, "{", {"Content-Length": "90"})],
    ids=["503", "429", "408", "empty", "html", "error", "connection cut", "cut short"],
)  # fmt: skip
def test_passing_trouble_is_met_by_trying_again(
    server: tuple[Server, str], folder: Path, engine: TransformersEngine, trouble: tuple[int, str, dict[str, str]]
) -> None:
    asked = requests(5, 10)
    client = OpenAIEngine(folder, 1, OpenAIOptions(server[1]))
    server[0].answers = [trouble, None, trouble, trouble]
    assert generated(client, asked) == generated(engine, asked)


REFUSED: dict[str, tuple[Callable[[Server], object], dict[str, Any], str]] = {
    "trouble that stays": (lambda s: s.answers.extend([None, *[(500, "out of memory", {})] * 3]), {},
                           "after 3 attempts.*out of mem"),
    "a request that it refuses": (lambda s: s.answers.extend([None, (400, "too long", {})]), {}, "HTTP 400: too long"),
    "a key that it refuses": (lambda s: s.answers.append((401, "who?", {})), {}, "HTTP 401: who"),
    "a model that it does not serve": (lambda s: None, {"model": "m2"}, "serves m1, not 'm2'"),
    "several models": (lambda s: s.models.append({"id": "m2"}), {}, "serves m1, m2; name one"),
    "no token ids": (lambda s: setattr(s, "change", lambda choice: choice.pop("token_ids")), {}, "without token_ids"),
    "token ids of another model": (lambda s: setattr(s, "change", lambda c: c.update(token_ids=[5, 900])), {},
                                  "token id 900 is beyond"),
    "an early end": (lambda s: setattr(s, "change", lambda c: c.update(token_ids=[5, 6])), {},
                     r"ended after 2 of 30 tokens.*\(6,\)"),
    **{
        f"a redirect {status}": (
            lambda s, status=status: s.answers.extend([None, (status, "", {"Location": "http://elsewhere/v1"})]), {},
            f"HTTP {status}, a redirect to http://elsewhere/v1, which is not followed. Correct serve.options",
        ) for status in (301, 302, 303, 307, 308)
    },
    "an answer without end": (
        lambda s: s.answers.extend([None, *[(200, "0" * (openai.MOST_BYTES + 9), {})] * 3]), {},
        "after 3 attempts.*an answer of more than 33,554,432 bytes"),
    "a short context": (lambda s: s.models[0].update(max_model_len=20), {}, "exceed the 20 positions"),
    "a key that is not set": (lambda s: None, {"api_key_env": "M1_NO_SUCH_KEY"}, "M1_NO_SUCH_KEY is not set"),
    "no URL": (lambda s: None, {"base_url": "localhost:30000"}, "an address such as https://host/v1"),
    "nobody there": (lambda s: None, {"base_url": "http://127.0.0.1:9/v1"}, "Is the server running"),
}  # fmt: skip


@pytest.mark.server
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_server_cannot_do_is_said(server: tuple[Server, str], folder: Path, case: str) -> None:
    prepare, options, said = REFUSED[case]
    prepare(server[0])
    with pytest.raises(UserError, match=said):
        generated(OpenAIEngine(folder, 1, OpenAIOptions(**{"base_url": server[1], **options})), requests(3, 30))


@pytest.mark.server
def test_the_key_is_sent(server: tuple[Server, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_KEY", "secret")
    generated(OpenAIEngine(folder, 1, OpenAIOptions(server[1], api_key_env="M1_KEY")), requests(1, 5))
    assert [headers["Authorization"] for headers in server[0].headers] == ["Bearer secret"] * 2


@pytest.mark.server
def test_what_was_in_flight_when_one_fails_is_kept(server: tuple[Server, str], folder: Path, tmp_path: Path) -> None:
    asked = requests(30, 20)
    server[0].answers = [None] * 12 + [(400, "no", {})]
    with Store(tmp_path) as store:
        kept = CachedEngine(lambda: OpenAIEngine(folder, 4, OpenAIOptions(server[1])), "model", store, "test")
        with pytest.raises(UserError, match="HTTP 400"):
            generated(kept, asked)
        assert len(store) == len(server[0].bodies) >= 11
        again = CachedEngine(lambda: OpenAIEngine(folder, 4, OpenAIOptions(server[1])), "model", store, "test")
        assert len(generated(again, asked)) == len(server[0].bodies) == 30


@pytest.mark.train
def test_sampling_depends_on_the_seed_alone(engine: TransformersEngine, folder: Path) -> None:
    hot = [request for seed in range(4) for request in requests(6, 20, temperature=1.0, top_p=0.9, seed=seed)]
    found = generated(engine, hot)
    alone = TransformersEngine(folder, "float32", batch=1)
    assert [generated(alone, [request])[0] for request in hot] == found
    assert len(set(found)) > 18
    greedy = generated(engine, requests(6, 20))
    assert generated(engine, requests(6, 20, temperature=1.0, top_p=1e-6)) == greedy
    assert generated(engine, requests(6, 20, temperature=1e-3)) == greedy


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    probabilities = torch.tensor([0.1, 0.4, 0.2, 0.3])
    steps = [(step + 0.5) / 1000 for step in range(1000)]
    drawn = [int(transformers._draw_token(probabilities.log(), 1.0, 1.0, step)) for step in steps]
    assert [drawn.count(token) for token in range(4)] == pytest.approx([100, 400, 200, 300], abs=1)
    nucleus = [int(transformers._draw_token(probabilities.log(), 1.0, 0.6, step)) for step in steps]
    assert [nucleus.count(token) for token in range(4)] == pytest.approx([0, 571, 0, 429], abs=1)
    assert int(transformers._draw_token(probabilities.log(), 1.0, 1.0, 1 - 1e-12)) == 0


def test_a_greedy_request_has_the_key_that_it_always_had(tmp_path: Path) -> None:
    request = Request((5, 6), 7, (8,), seed=3, top_p=0.5)
    with Store(tmp_path) as store:
        store.put(digest([digest("model"), [5, 6], 7, [8]]), {"token_ids": [1], "finish_reason": "stop"})
        kept = CachedEngine(lambda: pytest.fail("an engine was started"), "model", store, "test")
        assert generated(kept, [request]) == [Generation((1,), "stop")]
    assert (
        Request((5, 6), 7, (8,), temperature=0.5).defining != Request((5, 6), 7, (8,), temperature=0.5, seed=1).defining
    )


@pytest.mark.train
def test_the_models_own_end_tokens_end_a_generation(tmp_path: Path, folder: Path, engine: TransformersEngine) -> None:
    (long,) = generated(engine, [Request((5, 6, 7), 30, ())])
    assert long.finish_reason == "length"
    end = long.token_ids[9]
    other = random_model(tmp_path, eos_token_id=end)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 899]}), encoding="utf-8")
    assert ModelFacts.from_folder(other) == ModelFacts(512, 900, frozenset({end, 899}))
    first = long.token_ids.index(end)
    assert generated(TransformersEngine(other, "float32", 1), [Request((5, 6, 7), 30, ())]) == [
        Generation(long.token_ids[:first], "stop")
    ]


@pytest.mark.server
def test_all_engines_stop_at_each_end_of_the_model_whatever_a_server_reads(
    server: tuple[Server, str], folder: Path, engine: TransformersEngine, tmp_path: Path
) -> None:
    """As Llama 3's list in ``generation_config.json``; the server here serves a copy of the model without any."""
    asked = requests(20, 30)
    seen = [token for generation in generated(engine, asked) for token in generation.token_ids[:9]]
    ends = {seen[3], seen[14]}
    other = shutil.copytree(folder, tmp_path / "model")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": sorted(ends)}), encoding="utf-8")
    expected = generated(TransformersEngine(other, "float32", 4), asked)
    assert expected != generated(engine, asked)
    assert generated(OpenAIEngine(other, 4, OpenAIOptions(server[1])), asked) == expected
    offline, sent = SglangEngine(other, "float32", 1, SglangOptions(python=sys.executable), "test"), []
    offline._send = sent.append  # type: ignore[method-assign]
    offline._ask(0, asked[0])
    assert {*sent[0]["sampling"]["stop_token_ids"]} == {*STOP} | ends == {*server[0].bodies[0]["stop_token_ids"]}


def test_a_server_that_goes_on_after_an_end_is_refused() -> None:
    facts = ModelFacts(None, 10, frozenset({0, 4}))
    with pytest.raises(UserError, match=r"goes on after token 0, which ends it; it must stop at each of \[0, 4, 8\]"):
        to_generation([5, 0, 6], Request((1,), 3, (8,)), facts, "s", "length")


def test_ends_are_read_beside_the_part_of_text_too(tmp_path: Path) -> None:
    """As in Gemma 3's configuration, which has the text's part in a part of its own, and the ends beside it."""
    config = {"eos_token_id": [1, 106], "text_config": {"max_position_embeddings": 9, "vocab_size": 200}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert ModelFacts.from_folder(tmp_path) == ModelFacts(9, 200, frozenset({1, 106}))


@given(
    st.lists(st.integers(0, 9), max_size=20), st.integers(1, 20), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9))
)
def test_settling_agrees_with_the_definition(stream: list[int], limit: int, stop: set[int], ends: set[int]) -> None:
    place = next((i for i, token in enumerate(stream) if token in stop | ends), None)
    served = stream[: limit if place is None else min(limit, place + 1)]
    request, facts = Request((1,), limit, tuple(stop)), ModelFacts(None, 10, frozenset(ends))
    if place is not None and place < limit:
        assert to_generation(served, request, facts, "s", "") == Generation(tuple(stream[:place]), "stop")
    elif len(served) == limit:
        assert to_generation(served, request, facts, "s", "") == Generation(tuple(served), "length")
    else:
        with pytest.raises(UserError):
            to_generation(served, request, facts, "s", "")


def test_sglang_needs_a_python_with_sglang(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON, raising=False)
    with pytest.raises(UserError, match=f"{PYTHON} or in serve.options.python"):
        SglangEngine(folder, "float32", 1, SglangOptions(), "test")
    with (
        pytest.raises(UserError, match="No such file"),
        SglangEngine(folder, "float32", 1, SglangOptions(python=str(tmp_path / "no")), "t"),
    ):
        pass
    monkeypatch.setenv(PYTHON, sys.executable)  # the core, which has no SGLang
    with (
        pytest.raises(UserError, match="No module named 'sglang'"),
        SglangEngine(folder, "float32", 1, SglangOptions(), "t"),
    ):
        pass


def asked_for(
    folder: Path, store: Path, serve: dict[str, Any], runtime: dict[str, Any], gpus: int = 0
) -> argparse.Namespace:
    given: dict[str, Any] = {
        "template": None,
        "store": store,
        "gather": None,
        "shard": (1, 1),
        "look": None,
        "step": None,
    }
    given["runtime"] = ServeRuntime(2, runtime, gpus)
    return argparse.Namespace(
        model=folder, serve=ServeSettings(**{"dtype": "float32", "options": {}, **serve}), **given
    )


@pytest.mark.parametrize(
    ("serve", "runtime", "said"),
    [
        ({"engine": "sgl"}, {}, "'sgl'; known are transformers, sglang, openai"),
        ({"engine": "sglang"}, {"tpp": 2}, "unknown key 'tpp'. Give one JSON object with the keys deterministic"),
        ({"engine": "sglang"}, {"tp": "2"}, 'tp is "2"; a whole number is needed'),
        ({"engine": "openai"}, {}, "missing key 'base_url'"),
        ({"engine": "transformers"}, {"tp": 2}, "unknown key 'tp'. Give an empty JSON object"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    folder: Path, tmp_path: Path, serve: dict[str, Any], runtime: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said), open_engine(asked_for(folder, tmp_path, serve, runtime), "test"):
        pass


def test_where_a_model_runs_is_no_part_of_its_identity(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = random_model(shutil.copytree(tokenizer_folder, tmp_path / "model"))

    def identity(serve: dict[str, Any], runtime: dict[str, Any]) -> str:
        with open_engine(asked_for(folder, tmp_path / "store", serve, runtime), "test") as (engine, _, _):
            return engine.identity

    plain = identity({"engine": "sglang"}, {})
    assert (
        identity(
            {"engine": "sglang"}, {"tp": 8, "dp": 2, "python": "/opt/python", "mem_fraction": 0.8, "radix_cache": False}
        )
        == plain
    )
    assert identity({"engine": "sglang", "options": {"deterministic": False, "attention_backend": None}}, {}) == plain
    others = [
        {"engine": "sglang", "options": {"deterministic": True}},
        {"engine": "transformers"},
        {"engine": "sglang", "dtype": "bfloat16"},
    ]
    assert len({plain, *(identity(serve, {}) for serve in others)}) == 4


@pytest.mark.train
def test_the_engine_of_this_process_stops_without_its_gpus_before_a_model_is_loaded(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = random_model(shutil.copytree(tokenizer_folder, tmp_path / "model"))
    driver = fake_driver(tmp_path / "bin", "535.129.03", 8)
    monkeypatch.setenv("PATH", f"{driver}:/usr/bin:/bin")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)  # as the driver's library has it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    serve = {"engine": "transformers"}

    def generate(gpus: int) -> list[Generation]:
        given = asked_for(folder, tmp_path / "store", serve, {}, gpus)
        with open_engine(given, "infer m1") as (engine, _, _):
            return generated(engine, requests(3, 5))

    with monkeypatch.context() as no_model:
        no_model.setattr(cached, "TransformersEngine", lambda *_: pytest.fail("a model was loaded"))
        with pytest.raises(
            UserError, match=r"infer m1: 1 GPU asked for .*torch sees 0 \(driver 535.129.03 with 8 cards"
        ):
            generate(1)
    found = generate(0)
    assert len(found) == 3, "what asks for none runs on the CPU"
    assert generate(1) == found, "what is in the store needs no GPU"


def test_rules_pass_what_decides_as_params_and_the_rest_as_resources(tmp_path: Path) -> None:
    serve = {
        "engine": "sglang",
        "dtype": "bfloat16",
        "batch": 8,
        "options": {"deterministic": True, "attention_backend": "fa3", "tp": 2, "python": "p"},
    }
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(json.dumps({"screen": {"serve": serve}}), encoding="utf-8")
    rules = ScreenRules(Run(load([overlay])))
    deciding = {"deterministic": True, "attention_backend": "fa3"}
    decides = {"engine": "sglang", "dtype": "bfloat16", "options": deciding}
    model = wildcards(base="large")
    assert json.loads(rules.serve(model)) == decides
    assert json.loads(rules.runtime(model)) == {"batch": 8, "options": {"tp": 2, "python": "p"}, "gpus": 0}


@pytest.mark.parametrize("name", ENGINES)
def test_the_schema_knows_the_options_of_each_engine(name: str) -> None:

    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["$defs"]["serve"]
    (found,) = [
        case["then"]["properties"]["options"]
        for case in schema["allOf"]
        if case["if"]["properties"]["engine"]["const"] == name
    ]
    assert set(found.get("properties", {})) == set(ENGINES[name].options.__dataclass_fields__)
    assert name in schema["properties"]["engine"]["enum"]
    assert runtime_keys("serve.options").isdisjoint({"deterministic", "attention_backend"})


def test_a_note_of_what_is_answered_holds_while_its_segments_do(tmp_path: Path) -> None:
    serve, asked = ServeSettings("transformers", "float32", {}), tmp_path / "questions.parquet"
    asked.write_text("questions")

    def note(step: str = "m1.infer.sweep", model: str = "0123", **more: Any) -> AnswerNote:
        return AnswerNote.of(tmp_path / "store", step, model, serve, '{"prompt": "plain"}', [asked], **more)

    with Store(tmp_path / "store") as store:
        store.put_many((f"k{number}", number) for number in range(9))
        note().write(9)
        assert note().questions() == 9
        others = [note("m1.infer.answer"), note(model="4567"), note(shard=(1, 2))]
        assert [other.questions() for other in others] == [None] * 3
        store.forget(["k3"])
        assert note().questions() is None, "what was taken back is asked again"
    note().write(8)
    assert note().questions() == 8
    asked.write_text("other questions")
    assert note().questions() is None
    asked.write_text("questions")
    [segment] = (tmp_path / "store").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-1])
    assert note().questions() is None
