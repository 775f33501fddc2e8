"""Are paid calls durable, and fast? Runs the client of models over HTTP against a provider at its worst, and prints
what issue 4 asks.

    python benchmarks/calls.py faults         # 5,000 questions, all faults mixed, 20 SIGKILLs of the client
    python benchmarks/calls.py throughput     # 40,000 questions with long answers at 2 s, 256 at once

Both print a Markdown table and end with exit code 1 if a line of it is not what was asked for. ``--questions`` makes
them shorter.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests" / "support")]

from faulty_provider import BROKEN, RETRY_AFTER, mark, running  # noqa: E402
from m1.client.complete import Completion, Provider, Request, complete_all  # noqa: E402
from m1.core import records  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.core.records import Question, Trace  # noqa: E402
from m1.core.store import Store  # noqa: E402
from m1.distill.traces import teacher_prompt  # noqa: E402

SETTINGS: dict[str, Any] = {
    "name": "faulty",
    "model": "faulty-teacher",
    "base_url": None,
    "serve": None,
    "serve_seconds": 20,
    "api_key_env": None,
    "temperature": 0,
    "max_tokens": 8000,
    "limit_field": "max_tokens",
    "extra": {},
    "concurrency": 64,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "timeout": 10,
    "deadline": None,
    "max_retries": 12,
    "max_dollars": None,
    "batch": None,
    "notes": None,
    "price_prompt": 1.0,
    "price_completion": 10.0,
    "rule": "strict",
}
FAULTS = {
    "share429": 0.03,
    "share429_after": 0.005,
    "share500": 0.03,
    "share502": 0.03,
    "hang": 0.003,
    "reset": 0.03,
    "truncated": 0.03,
    "empty_choices": 0.03,
    "wrong_type": 0.03,
    "no_box": 0.03,
    "duplicate": 0.03,
    "repeated": 0.03,
}
"""Shares of attempts, 30 % in all; rarer the ones that cost seconds."""


def write_questions(path: Path, number: int) -> list[Question]:
    """Questions that the fault server answers with A, which is correct."""
    options = ("Amiloride", "Bumetanide", "Chlorthalidone", "Dapagliflozin")
    questions = [
        Question(f"q{n:05}", "faults", f"Case {n}: which drug comes first?", None, options, "A") for n in range(number)
    ]
    records.write(path, questions, Question)
    return questions


# The client, in a process of its own that can be killed


class Acknowledging(Store):
    """A store that notes in a file which keys :meth:`put_many` has returned for: what the client may take as kept."""

    def __init__(self, folder: Path, acknowledged: Path) -> None:
        super().__init__(folder)
        self.acknowledged = acknowledged

    def put_many(self, items: Iterable[tuple[str, Any]]) -> None:
        items = list(items)
        super().put_many(items)
        with open(self.acknowledged, "a", encoding="ascii") as stream:
            stream.write("".join(f"{key}\n" for key, _ in items))


def client(arguments: argparse.Namespace) -> None:
    """Ask everything, read every answer once, and print what it took as JSON."""
    questions = records.read(arguments.questions, Question)
    with Acknowledging(arguments.store, arguments.acknowledged) as store:
        completions, _ = complete_all(
            [Request(teacher_prompt(q)) for q in questions], Provider(**arguments.provider), store, "calls"
        )
        characters = sum(len(completion.thinking) for completion in completions)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    took = {
        "peak_mib": int(status["VmHWM"].split()[0]) / 1024,
        "cpu_seconds": time.process_time(),
        "characters": characters,
    }
    print(json.dumps(took), flush=True)


class Run:
    """A folder with questions, a store and a log, and a fault server; processes are started on them.

    Args:
        folder: empty.
        flags: of :mod:`faulty_provider`.
    """

    def __init__(self, folder: Path, questions: int, base_url: str, **settings: Any) -> None:
        self.folder, self.store, self.acknowledged = folder, folder / "store", folder / "acknowledged"
        self.questions = write_questions(folder / "questions.parquet", questions)
        self.provider = SETTINGS | {"base_url": base_url} | settings
        self.prompts = {
            Request(teacher_prompt(q)).key(Provider(**self.provider)): teacher_prompt(q) for q in self.questions
        }
        self.address = base_url.split("/")[2]

    def health(self) -> dict[str, Any]:
        """What the server says of itself."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.request("GET", "/health")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def start(self, **options: Any) -> subprocess.Popen[str]:
        """Start the client; ``options`` go to Popen."""
        flags = {"provider": json.dumps(self.provider), "store": self.store, "acknowledged": self.acknowledged}
        return self._python(
            str(Path(__file__)),
            "client",
            "--questions",
            str(self.folder / "questions.parquet"),
            *_flags(flags),
            **options,
        )

    def traces(self) -> subprocess.Popen[str]:
        """Start the step that the workflow runs."""
        deciding = ("name", "model", "temperature", "max_tokens", "limit_field", "extra", "rule")
        flags = {
            "questions": self.folder / "questions.parquet",
            "teacher": json.dumps({name: self.provider[name] for name in deciding}),
            "calls": json.dumps({name: value for name, value in self.provider.items() if name not in deciding}),
            "store": self.store,
            **{name: self.folder / f"{name}.parquet" for name in ("output", "dropped")},
            "differing": self.folder / "differing.csv",
            "manifest": self.folder / "manifest.json",
        }
        return self._python("-m", "m1.distill.traces", *_flags(flags))

    def _python(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
        with open(self.folder / "log.txt", "a", encoding="utf-8") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, env=environment, text=True, **options
            )

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Wait for a process, which must succeed; what it printed."""
        printed = process.communicate()[0]
        if process.returncode:
            tail = "\n".join((self.folder / "log.txt").read_text(encoding="utf-8").splitlines()[-15:])
            raise UserError(f"the client ended with exit code {process.returncode}. Its last lines:\n{tail}")
        return printed

    def stored(self) -> dict[str, Any]:
        """Keys and values that a process would find in the store now; what it says of torn lines goes to the log."""
        with (
            open(self.folder / "log.txt", "a", encoding="utf-8") as log,
            redirect_stdout(log),
            Store(self.store) as store,
        ):
            return {key: store.get(key) for key in self.prompts if key in store}


def _flags(values: Mapping[str, Any]) -> list[str]:
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The fault server's log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Faults and kills


@dataclass(frozen=True)
class Life:
    """From a client's start to its SIGKILL (seconds of ``time.time()``), and the keys in the store afterwards."""

    start: float
    end: float
    kept: frozenset[str]


def payments(events: Sequence[Mapping[str, Any]], lives: Sequence[Life]) -> tuple[int, int, int]:
    """What was paid more than once, from the fault server's log.

    Returns:
        Payments beyond the first of each key; those of them that no kill explains; the most calls that one kill lost. A
        kill explains a second payment if the call was asked in the life it ended, and was not in the store after it: it
        was in flight.
    """
    asked = {event["number"]: event["at"] for event in events if event["event"] == "in"}
    paid: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["event"] == "out" and event["paid"]:
            paid[event["key"]].append(asked[event["number"]])
    lost = [
        Counter(
            key for key, times in paid.items() if key not in life.kept for at in times if life.start <= at <= life.end
        )
        for life in lives
    ]
    # One payment a key and life is lost to the kill; another one within the same life is not.
    explained = Counter(key for one in lost for key in one)
    twice = sum(len(times) - 1 for times in paid.values())
    unexplained = sum(max(0, len(times) - 1 - explained[key]) for key, times in paid.items())
    return twice, unexplained, max((len(one) for one in lost), default=0)


def too_early(events: Sequence[Mapping[str, Any]], lives: Sequence[Life]) -> int:
    """Calls repeated before the seconds of their Retry-After had passed, unless the client was killed meanwhile and
    could not know."""
    early = 0
    until: dict[str, tuple[float, float]] = {}
    for event in events:
        key, at = event["key"], event["at"]
        if event["event"] == "out" and event["outcome"] == "share429_after":
            until[key] = (at, at + RETRY_AFTER - 0.05)
        elif event["event"] == "in" and key in until:
            asked, end = until.pop(key)
            early += at < end and not any(asked <= life.end <= at for life in lives)
    return early


def faults(arguments: argparse.Namespace) -> None:
    """The table of the fault run."""
    started = time.time()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="m1-calls-") as name:
        folder = Path(name)
        flags = FAULTS | {"latency": 0.2, "capacity": 256, "seed": arguments.seed}
        with running(folder / "server.jsonl", *_flags(flags)) as url:
            run = Run(folder, arguments.questions, url)
            lives: list[Life] = []
            vanished: set[str] = set()
            # At random amounts of work done, so that all come during the run, and then at a random moment of an
            # answer's time.
            for threshold in sorted(chance.sample(range(int(0.95 * arguments.questions)), arguments.kills)):
                start = time.time()
                process = run.start()
                while process.poll() is None and run.health()["paid"] < threshold:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.3))
                if process.poll() is not None:
                    run.finish(process)
                    raise UserError("the client ended before it was killed: ask more --questions or fewer --kills")
                process.send_signal(signal.SIGKILL)
                process.communicate()
                end = time.time()
                acknowledged = run.acknowledged.read_text(encoding="ascii").split() if run.acknowledged.exists() else []
                lives.append(Life(start, end, frozenset(run.stored())))
                # A line that was being written at the kill is not acknowledged: a key is 64 characters.
                vanished |= {key for key in acknowledged if len(key) == 64} - lives[-1].kept
            run.finish(run.start())
            seconds = time.time() - started
            health = run.health()
            run.finish(run.traces())
            run.finish(run.start())
            again = run.health()["calls"] - health["calls"]

        stored = run.stored()
        vanished |= {key for life in lives for key in life.kept} - set(stored)
        segments = [path.read_bytes().splitlines(keepends=True) for path in run.store.glob("*.jsonl")]
        lines = Counter(json.loads(line)["key"] for segment in segments for line in segment if line.endswith(b"}\n"))
        answers = {key: Completion.from_value(key, value) for key, value in stored.items()}
        traces = [trace for part in ("output", "dropped") for trace in records.read(folder / f"{part}.parquet", Trace)]
        events = read_log(folder / "server.jsonl")

    twice, unexplained, most = payments(events, lives)
    misplaced = sum(
        mark(run.prompts[key]) not in answer.thinking or mark(run.prompts[key]) not in answer.answer
        for key, answer in answers.items()
    )
    outcomes = Counter(event["outcome"] for event in events if event["event"] == "out")
    concurrency = run.provider["concurrency"]
    once = sum(lines[key] == 1 for key in run.prompts)
    verdicts = Counter(trace.verdict for trace in traces)
    table(
        [
            ("questions", arguments.questions, True),
            ("SIGKILLs of the client", len(lives), len(lives) == arguments.kills),
            ("answered once in the store", once, once == arguments.questions),
            ("lost", len(run.prompts) - len(stored) + len(vanished), set(stored) == set(run.prompts) and not vanished),
            ("answers kept under another question", misplaced, misplaced == 0),
            ("paid twice", twice, True),
            ("paid twice, not in flight at a kill", unexplained, unexplained == 0),
            (f"most in flight and lost at one kill (concurrency {concurrency})", most, most <= concurrency),
            ("broken off on the way (reset, truncated), asked again", sum(outcomes[kind] for kind in BROKEN), True),
            ("repeated before the end of their Retry-After", early := too_early(events, lives), early == 0),
            ("calls of two more runs when all is done (`m1.distill.traces` and the client)", again, again == 0),
            (
                "traces: " + ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.most_common()),
                len(traces),
                len(traces) == arguments.questions,
            ),
            ("most requests at once at the server", health["peak"], True),
            ("wall seconds, starts included", round(seconds), True),
        ],
        "attempts: " + ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common()),
    )


# Throughput


def throughput(arguments: argparse.Namespace) -> None:
    """The table of the run at capacity."""
    latency, capacity = 2.0, 256
    with tempfile.TemporaryDirectory(prefix="m1-calls-") as name:
        folder = Path(name)
        flags = {"latency": latency, "capacity": capacity, "thinking": 4096}
        with running(folder / "server.jsonl", *_flags(flags)) as url:
            run = Run(folder, arguments.questions, url, concurrency=capacity, timeout=60)
            took = json.loads(run.finish(run.start()).splitlines()[-1])
            health = run.health()
        stored = len(run.stored())
        events = read_log(folder / "server.jsonl")

    asked = {event["number"]: event["at"] for event in events if event["event"] == "in"}
    ended = {event["number"]: event["at"] for event in events if event["event"] == "out"}
    seconds = max(ended.values()) - min(asked.values())
    in_flight = sum(end - asked[number] for number, end in ended.items()) / seconds
    rate = len(ended) / seconds
    share = rate / (capacity / latency)
    table(
        [
            ("questions", arguments.questions, True),
            ("answered in the store", stored, stored == arguments.questions),
            ("seconds, from the first request to the last answer", round(seconds, 1), True),
            (f"calls a second (capacity {capacity / latency:.0f})", round(rate, 1), True),
            ("share of the capacity, start and end included", f"{share:.1%}", share >= 0.9),
            (f"mean calls in flight at the server (capacity {capacity})", round(in_flight, 1), True),
            ("peak memory of the client (MiB)", round(took["peak_mib"]), took["peak_mib"] <= 300),
            ("CPU seconds of the client", round(took["cpu_seconds"], 1), True),
            ("CPU seconds of the server", health["cpu_seconds"], True),
            ("characters of thinking read back", took["characters"], took["characters"] >= 4000 * arguments.questions),
        ]
    )


def table(rows: Sequence[tuple[str, Any, bool]], note: str = "") -> None:
    """Print what was measured; exit code 1 if any of it is not as asked."""
    print("| measured | value | as asked |\n|---|---|---|")
    for measured, value, good in rows:
        print(
            f"| {measured} | {value:,} | {'yes' if good else 'NO'} |"
            if isinstance(value, int)
            else f"| {measured} | {value} | {'yes' if good else 'NO'} |"
        )
    if note:
        print(f"\n{note}")
    if not all(good for _, _, good in rows):
        raise SystemExit(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the two, or the client that they start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("faults", help="what is kept, lost and paid twice")
    command.add_argument("--questions", type=int, default=5000)
    command.add_argument("--kills", type=int, default=20, help="SIGKILLs of the client (default 20)")
    command.add_argument("--seed", type=int, default=0, help="decides the faults and the moments of the kills")
    command.set_defaults(do=faults)
    command = commands.add_parser("throughput", help="share of a provider's capacity, memory, CPU")
    command.add_argument("--questions", type=int, default=40_000)
    command.set_defaults(do=throughput)
    command = commands.add_parser("client", help="what the others start: ask all questions once")
    command.add_argument("--questions", required=True, type=Path)
    command.add_argument("--provider", required=True, type=json.loads)
    command.add_argument("--store", required=True, type=Path)
    command.add_argument("--acknowledged", required=True, type=Path)
    command.set_defaults(do=client)
    arguments = parser.parse_args(argv)
    arguments.do(arguments)


if __name__ == "__main__":
    run(main)
