"""Generate by a server: any server of ``/v1/completions`` that takes and returns token ids, such as SGLang's or vLLM's.

The engine trusts that the server runs the weights and the dtype of the recipe. It checks that the server serves the
named model, that its context is long enough, that every token id is one of the model's, and that each generation ended
with a stop token or at its limit.
"""

import json
import os
import queue
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.keys import OPEN, check_address, check_variable, is_open
from m1.core.progress import say
from m1.engines.protocol import Done, Generation, ModelFacts, Request, Waiting, to_generation

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each further attempt at a call that failed for a temporary reason."""
PASSING = {408, 409, 425, 429}
"""HTTP states after which another attempt may succeed. The same holds for 500 and above, for a failed connection, and
for an answer that is not JSON."""


MOST_BYTES = 32 << 20
"""Size limit of an answer: ten times the token ids of the longest generation."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would take the key and the prompt to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class OpenAIOptions:
    """The address of the server and the limits of requests; none of these options decides an answer."""

    base_url: str  # for example http://gpu7:30000/v1
    api_key_env: str | None = None  # environment variable with the server's key, if it wants one
    model: str | None = None  # the server's name for the model; None if it serves only one
    timeout: float | int = 3600  # seconds for one generation, including its time in the queue


class OpenAIEngine:
    """A model behind a URL, with ``batch`` requests in flight; the server is trusted to run the weights in ``folder``.

    Raises:
        UserError: the server cannot be reached, refuses, or does not serve the model.
    """

    def __init__(self, folder: str | Path, batch: int, options: OpenAIOptions) -> None:
        url, variable = options.base_url, options.api_key_env
        check_variable(variable, "serve.options.api_key_env")
        check_address(url, "serve.options.base_url")
        if variable and is_open(url):
            say("engine", f"{url}: {OPEN}")
        self.options, self.batch, self.url = options, batch, url.rstrip("/")
        self.key = os.environ.get(variable, "").strip() if variable else ""
        if variable and not self.key:
            unset = f"the environment variable {variable} is not set"
            raise UserError(f"{self.url}: {unset}. Set it to the server's key and run again.")
        self._stopping, self._opener = threading.Event(), urllib.request.build_opener(_NoRedirect)
        self.facts = ModelFacts.from_folder(folder)
        served = {model["id"]: model for model in self._call("models")["data"]}
        if options.model is None and len(served) != 1:
            names = ", ".join(served) or "nothing"
            raise UserError(f"{self.url}: serves {names}; name one of them in serve.options.model")
        self.model = options.model or next(iter(served))
        if self.model not in served:
            raise UserError(f"{self.url}: serves {', '.join(served)}, not {self.model!r}; correct serve.options.model")
        limits = self.facts.positions, served[self.model].get("max_model_len")
        self.positions = min(filter(None, limits), default=None)

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request and what follows (:class:`m1.engines.protocol.Engine`).

        If a request fails, those in flight still finish and are kept.
        """
        waiting = Waiting(requests, self.positions)
        asked: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        answers: queue.SimpleQueue[tuple[Request, Generation | Exception]] = queue.SimpleQueue()
        self._stopping.clear()

        def work() -> None:
            while request := asked.get():
                try:
                    answers.put((request, self._complete(request)))
                except Exception as error:
                    answers.put((request, error))

        flight = threads = 0
        failure: Exception | None = None
        try:
            while True:
                while failure is None and flight < self.batch and (request := waiting.take()):
                    asked.put(request)
                    flight += 1
                    if flight > threads:
                        threading.Thread(target=work, daemon=True).start()
                        threads += 1
                if not flight:
                    break
                request, found = answers.get()
                flight -= 1
                if isinstance(found, Exception):
                    failure = failure or found
                    self._stopping.set()
                else:
                    waiting.follow(done(request, found))
        finally:
            self._stopping.set()
            for _ in range(threads):
                asked.put(None)
        if failure:
            raise failure

    def _complete(self, request: Request) -> Generation:
        body = {"model": self.model, "prompt": request.prompt, "max_tokens": request.max_tokens, "seed": request.seed}
        body |= {"stop_token_ids": self.facts.stops(request)}
        body |= {"temperature": request.temperature, "top_p": request.top_p}
        body |= {"return_token_ids": True, "skip_special_tokens": False, "top_k": -1, "min_p": 0.0}
        # A server may take defaults from the model's generation_config.json, and Qwen2.5's has a repetition penalty.
        body |= {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        answer = self._call("completions", body)
        choice = (answer.get("choices") or [{}])[0]
        if not isinstance(choice.get("token_ids"), list):
            needed = "A server that knows return_token_ids is needed, such as SGLang's or vLLM's of today."
            raise UserError(f"{self.url}: a completion came without token_ids: {str(answer)[:300]}. {needed}")
        return to_generation(choice["token_ids"], request, self.facts, self.url, choice.get("finish_reason"))

    def _call(self, path: str, body: Any = None) -> dict[str, Any]:
        """Call a path of the server and return its JSON object; temporary failures are retried after growing waits."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        for wait in (*WAITS, None):
            try:
                request = urllib.request.Request(f"{self.url}/{path}", data, headers)
                with self._opener.open(request, timeout=self.options.timeout) as response:
                    content = response.read(MOST_BYTES + 1)
                if len(content) > MOST_BYTES:
                    raise ValueError(f"an answer of more than {MOST_BYTES:,} bytes")
                answer = json.loads(content)
                if not isinstance(answer, dict) or "error" in answer:
                    raise ValueError(str(answer)[:300])
                return answer
            except urllib.error.HTTPError as error:
                found = f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
                if 300 <= error.code < 400:
                    found = f"HTTP {error.code}, a redirect to {error.headers.get('location')}, which is not followed"
                if error.code not in PASSING and error.code < 500:
                    remedy = "Correct serve.options, or the server's settings."
                    raise UserError(f"{self.url}/{path}: refused with {found}. {remedy}") from None
            except (OSError, HTTPException, ValueError) as error:
                found = f"{type(error).__name__}: {error}"
            # The random share of the wait separates requests that failed together.
            if wait is None or self._stopping.wait(wait * random.uniform(0.5, 1.0)):
                break
        failed = f"no answer after {len(WAITS) + 1} attempts; the last: {found}"
        raise UserError(f"{self.url}/{path}: {failed}. Is the server running?")
