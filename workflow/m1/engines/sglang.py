"""Generate by SGLang, the paper's engine, in a subprocess with an environment of its own (B.3)."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.core import gpus
from m1.core.errors import UserError
from m1.core.progress import say
from m1.engines import sglang_worker
from m1.engines.protocol import Done, ModelFacts, Request, Waiting, to_generation

PYTHON = "M1_SGLANG_PYTHON"
"""Environment variable with the Python of SGLang's environment, if ``serve.options.python`` does not name it."""


GLIBC = (2, 34)
"""The oldest glibc for which SGLang 0.5.23 has a wheel (manylinux_2_34); older systems, such as RHEL 8, find none."""


@dataclass(frozen=True)
class SglangOptions:
    """Options of SGLang; None leaves the choice to it."""

    deterministic: bool = False
    """Generate the same tokens whatever else is in the batch. Decides answers; about a third slower on a GPU."""
    attention_backend: str | None = None
    """What computes attention, for example ``fa3``. Decides answers, so nothing is generated if SGLang takes another.
    Deterministic mode keeps its radix cache with ``fa3`` and ``triton``."""
    python: str | None = None
    """The Python of SGLang's environment; None for the environment variable :data:`PYTHON`."""
    tp: int = 1
    """Number of GPUs that share one copy of the model."""
    dp: int = 1
    """Number of copies of the model."""
    radix_cache: bool = True
    """Compute a common prefix once; all budgets of a question share theirs."""
    mem_fraction: float | None = None
    """Share of a GPU's memory for weights and key-value cache."""
    max_total_tokens: int | None = None
    """Size of the key-value cache, in tokens."""


class SglangEngine:
    """A model in a process of its own, which lives as long as this context manager, also if this process is killed.

    SGLang runs on the CPU only if ``wanted_gpus``, the number of the job's GPUs, is 0.

    Raises:
        UserError: SGLang's Python does not exist or lacks SGLang, its torch sees fewer GPUs, SGLang refuses the model
            or its settings, or it takes another attention backend than the configured one.
    """

    def __init__(
        self,
        folder: str | Path,
        dtype: str,
        batch: int,
        options: SglangOptions,
        title: str,
        wanted_gpus: int = 0,
    ) -> None:
        self.facts, self.batch, self.title = ModelFacts.from_folder(folder), batch, title
        self.copies = options.dp
        self.wanted_gpus, self.attention_backend = wanted_gpus, options.attention_backend
        self.ran: dict[str, Any] = {}
        """How SGLang runs, for the manifest (:func:`m1.engines.sglang_worker.describe`)."""
        self.python = options.python or os.environ.get(PYTHON)
        if not self.python:
            raise UserError(
                f"{title}: serve.engine is sglang, which has an environment of its own: make it from envs/sglang.yaml, "
                f"and name its Python in the environment variable {PYTHON} or in serve.options.python"
            )
        arguments: dict[str, Any] = {"model_path": str(Path(folder).resolve()), "dtype": dtype}
        arguments |= {"tp_size": options.tp, "dp_size": options.dp, "attention_backend": options.attention_backend}
        arguments |= {"mem_fraction_static": options.mem_fraction, "max_total_tokens": options.max_total_tokens}
        arguments |= {"enable_deterministic_inference": options.deterministic}
        arguments |= {"disable_radix_cache": not options.radix_cache}
        arguments |= {"skip_tokenizer_init": True, "log_level": "warning"}
        self.arguments = {key: value for key, value in arguments.items() if value is not None}

    def __enter__(self) -> SglangEngine:
        # -I, since PYTHONPATH, and the worker's folder with files named like packages, would hide packages of the
        # environment.
        command, pipe = [str(self.python), "-I", sglang_worker.__file__], subprocess.PIPE
        try:
            self._worker = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", start_new_session=True
            )
        except OSError as error:
            found = f"{self.python}: SGLang's Python cannot be started: {error.strerror}"
            raise UserError(f"{self.title}: {found}. Correct {PYTHON}.") from None
        try:
            self._send({"gpus": self.wanted_gpus, "engine": self.arguments})
            self.ran = self._receive()["ready"]
            self._check_backend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _check_backend(self) -> None:
        version, device, chosen = self.ran["versions"].get("sglang"), self.ran["device"], self.ran["attention_backend"]
        if self.attention_backend and chosen != self.attention_backend:
            told = f"serve.options.attention_backend is {self.attention_backend}, and SGLang {version} takes {chosen}"
            remedy = f"Name one that {device} can run; it decides answers, so it is a part of their key in the store."
            raise UserError(f"{self.title}: {told} on {device}. {remedy}")
        say(self.title, f"SGLang {version} on {device}, attention by {chosen}, process {self._worker.pid}")

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._worker.stdin.close()  # type: ignore[union-attr]
        try:
            self._worker.wait(sglang_worker.GRACE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()
        self._worker.stdout.close()  # type: ignore[union-attr]

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request and what follows (:class:`m1.engines.protocol.Engine`).

        All requests of a group go to one copy of the model, which has their common beginning in its cache.
        """
        waiting, flight, numbers = Waiting(requests, self.facts.positions), dict[int, Request](), itertools.count()
        while True:
            while len(flight) < self.batch and (request := waiting.take()):
                number = next(numbers)
                flight[number] = request
                self._ask(number, request)
            if not flight:
                return
            answer = self._receive()
            request = flight.pop(answer["id"])
            generation = to_generation(answer["token_ids"], request, self.facts, "SGLang", answer["said"])
            waiting.follow(done(request, generation))

    def _ask(self, number: int, request: Request) -> None:
        sampling: dict[str, Any] = {"temperature": request.temperature, "max_new_tokens": request.max_tokens}
        sampling["stop_token_ids"] = self.facts.stops(request)
        if request.temperature:
            sampling |= {"top_p": request.top_p, "sampling_seed": request.seed}
        copy = request.group % self.copies if self.copies > 1 else None  # with a single copy, SGLang would warn
        self._send({"id": number, "prompt": request.prompt, "sampling": sampling, "copy": copy})

    def _send(self, value: Any) -> None:
        with suppress(BrokenPipeError):  # that the process has ended is noticed when its answer is read
            print(json.dumps(value), file=self._worker.stdin, flush=True)

    def _receive(self) -> dict[str, Any]:
        line = self._worker.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise UserError(
                f"{self.title}: SGLang's process ended with exit code {self._worker.wait()}; what it said is in the "
                "log. What was finished is kept: correct its settings (serve.options) or free memory, and run again."
            )
        answer: dict[str, Any] = json.loads(line)
        if "lacking" in answer:
            raise UserError(f"{self.title}: {gpus.lack(self.wanted_gpus, answer['lacking'])} ({self.python})")
        if "error" in answer:
            refused = f"SGLang ({self.python}) refuses: {answer['error']}"
            raise UserError(f"{self.title}: {refused}. Correct serve.options; the log has more.")
        return answer
