"""Batches over real HTTP (see ``batch_server``): nothing is lost, and nothing is submitted twice, whatever fails and
whoever is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adder import PATHS
from batch_server import KEY, BatchServer, answer, make_provider, make_requests, run
from m1.client import attempt as attempts
from m1.client import backlog, endpoint
from m1.client import batch as batches
from m1.client.attempt import is_refusal
from m1.client.complete import complete_all
from m1.client.endpoint import read_line
from m1.core.errors import UserError
from m1.core.store import Store
from patience import PATIENCE, REACHED
from serving import serving

pytestmark = pytest.mark.server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def journals(store: Store) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((store.folder / "batches").iterdir())]


def batch(**changes: Any) -> dict[str, Any]:
    return {"window": "24h", "size": 100, "poll_seconds": 0.02, "discount": 0.5} | changes


@pytest.mark.parametrize("wrapped", [False, True])
def test_700_calls_in_batches_of_100(store: Store, wrapped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Also as SiliconFlow wraps uploads and names results by their addresses, where our key must not go."""
    with serving(BatchServer(wrapped=wrapped)) as server:
        provider = make_provider(server.url)
        requests = make_requests(700, provider)
        assert run(provider, requests, store) == {}
        assert [server.log.count(kind) for kind in ("upload", "create", "content", "list")] == [7, 7, 7, 0]
        assert server.paid == dict.fromkeys(requests, 1)
        assert {found["completion_window"] for found in server.batches.values()} == {"24h"}
        asked = [json.loads(line) for line in server.files["file-0"].splitlines()]
        key, request = next(iter(requests.items()))
        assert asked[0] == {
            "custom_id": key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": request.body(provider),
        }
        run(provider, requests, store)
        assert server.log.count("create") == 7
    for key, request in requests.items():
        assert store.get(key) == {
            "message": {"role": "assistant", "content": answer(request.prompt), "reasoning_content": "Hm."},
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 2, "completion_tokens": 3},
            "seconds": 0.0,
            "served": "adder",
        }
    assert all(journal["done"] and "keys" not in journal and journal["answered"] == 100 for journal in journals(store))
    assert "700/700 calls (100%" in capsys.readouterr().out


def test_failed_calls_are_submitted_again_and_refused_ones_are_not(store: Store) -> None:
    """429, 500, no answer within the window, a line that cannot be read, one that is missing, an empty completion: all
    in one batch."""
    passing = ["429", "500", "batch_expired", "rubbish", "nothing", "empty"]

    def line(prompt: str, time: int) -> str:
        number = int(prompt.split()[2])
        if number >= 60:
            return ("400", "413", "422")[number % 3]
        return passing[number % 6] if time == 1 + number % 2 else "ok"

    with serving(BatchServer(line)) as server:
        provider = make_provider(server.url)
        requests = make_requests(66, provider)
        refused = run(provider, requests, store)
        assert list(requests)[60:] == list(refused)
        assert {found["refused"]["status"] for found in refused.values()} == {400, 413, 422}
        assert all(
            "sorry" in found["refused"]["message"] and KEY not in found["refused"]["message"]
            for found in refused.values()
        )
        assert sum(key in store for key in requests) == 60
        assert all(server.submitted[key] == 1 for key in refused)
        assert server.log.count("create") == 2
    assert [journal["refused"] for journal in journals(store)].count(6) == 1


def test_what_fails_in_every_round_ends_the_run_and_the_rest_is_kept(store: Store) -> None:
    with serving(BatchServer(lambda prompt, time: "500" if prompt == "What is 3 plus 1?" else "ok")) as server:
        provider = make_provider(server.url, max_retries=2)
        requests = make_requests(10, provider)
        with pytest.raises(UserError, match=r"1 calls failed in 3 rounds .*HTTP 500.*sorry, says 500 to \*\*\*"):
            run(provider, requests, store)
        assert len(store) == 9
        assert max(server.submitted.values()) == 3
        assert sum(server.submitted.values()) == 12


def test_an_expired_batch_is_submitted_again_without_what_it_answered(store: Store) -> None:
    with serving(BatchServer(ends=["expired", "completed", "expired"])) as server:
        provider = make_provider(server.url, batch=batch(size=10))
        requests = make_requests(20, provider)
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)
        assert [len(server.files[found["input_file_id"]].splitlines()) for found in server.batches.values()] == [
            10,
            10,
            5,
            3,
        ]


@pytest.mark.parametrize(
    ("end", "message", "kept"),
    [
        ("cancelled", r"batch-0 was cancelled there.*run again", 5),
        ("failed:model_not_found", r"batch-0 is not accepted: model_not_found: so it is", 0),
    ],
)
def test_a_batch_that_a_person_or_the_provider_stops_ends_the_run(
    store: Store, end: str, message: str, kept: int
) -> None:
    with serving(BatchServer(ends=[end])) as server:
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        with pytest.raises(UserError, match=message):
            run(provider, requests, store)
        assert (len(store), server.log.count("create")) == (kept, 1)
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)


def test_too_much_in_the_queue_there_means_fewer_batches_at_a_time(store: Store) -> None:
    with serving(
        BatchServer(ends=["completed", "failed:token_limit_exceeded", "failed:token_limit_exceeded"])
    ) as server:
        provider = make_provider(server.url, batch=batch(size=10), max_retries=0)
        requests = make_requests(50, provider)
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)
        assert server.most_open == 5
        assert len(server.batches) == 7


def test_a_provider_that_stumbles(store: Store) -> None:
    """Errors, HTML and lost answers at every kind of request; none makes a second batch."""
    with serving(BatchServer()) as server:
        server.faults["upload"].extend([500, 429])
        server.faults["retrieve"].extend(["html", "error", 429, 500, 500, 500, "lost", "lost", "lost"])
        server.faults["create"].extend(["lost", 503, "html", "error", 429])
        server.faults["list"].extend([500, "html", "error", "lost"])
        server.faults["content"].extend(["cut", 500, "cut", "short"])
        provider = make_provider(server.url, batch=batch(size=10))
        requests = make_requests(40, provider)
        run(provider, requests, store)
        assert all(not faults for faults in server.faults.values())
        assert server.paid == dict.fromkeys(requests, 1)
        assert len(server.batches) == 4


def test_files_that_stay_short_are_believed_in_the_end(store: Store) -> None:
    with serving(BatchServer()) as server:
        server.faults["content"].extend(["short"] * batches.TRIES)
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        run(provider, requests, store)
        assert sorted(server.paid.values()) == [1] * 5 + [2] * 5


def test_files_that_are_short_at_first_do_not_end_a_run_that_begins_with_them(store: Store) -> None:
    with serving(BatchServer()) as server:
        interrupted(server, store, 10, 10)
        (waiting,) = server.batches.values()
        waiting["states"].clear()
        waiting["states"].append("completed")
        server.faults["content"].append("short")
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        run(provider, requests, store)
        assert (len(store), server.paid) == (10, dict.fromkeys(requests, 1))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "HTTP 401.*Check the key in the environment variable M1_TEST_KEY"),
        (403, "HTTP 403.*may use"),
        (404, "HTTP 404.*batch endpoint"),
        (402, "HTTP 402.*Top up"),
    ],
)
@pytest.mark.parametrize("kind", ["upload", "create"])
def test_errors_that_do_not_pass_end_the_run_without_our_key(
    store: Store, kind: str, status: int, message: str
) -> None:
    with serving(BatchServer()) as server:
        server.faults[kind].append(status)
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        with pytest.raises(UserError, match=message) as caught:
            run(provider, requests, store)
        assert KEY not in repr(caught.value) + "".join(
            map(str, journals(store) if (store.folder / "batches").exists() else [])
        )
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)


def test_a_line_that_says_that_the_model_is_unknown_ends_the_run(store: Store) -> None:
    with serving(BatchServer(lambda prompt, time: "404" if "3" in prompt else "ok")) as server:
        provider = make_provider(server.url)
        with pytest.raises(UserError, match=r"a call of batch batch-0 failed with HTTP 404.*model 'adder'"):
            run(provider, make_requests(10, provider), store)
        assert len(store) == 9


def test_wrong_key_and_no_provider(store: Store) -> None:
    with serving(BatchServer()) as server:
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        with pytest.raises(UserError, match=r"HTTP 401: .*fault 401 for Bearer \*\*\*.*M1_TEST_KEY"):
            run(provider, requests, store, key="sk-incorrect")
        assert not server.batches
    with pytest.raises(UserError, match=r"no connection .*Check base_url"):
        run(provider, requests, store)


def test_silence_ends_the_run_and_the_batches_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.0)
    with serving(BatchServer()) as server:
        server.faults["retrieve"].extend([500] * 3)
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        with pytest.raises(
            UserError, match=r"no answer for \d+ s, at last: HTTP 500.* 1 batch stays with the provider"
        ):
            run(provider, requests, store)
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)


def test_money(store: Store) -> None:
    """A call costs 0.5 * (2 + 2 * 3) = 4 millionths of a dollar, and at the worst 0.5 * (bytes + 2 * 100)."""
    with serving(BatchServer()) as server:
        provider = make_provider(server.url, batch=batch(size=10))
        requests = make_requests(30, provider)
        worst = max(request.most_dollars(provider) for request in requests.values())
        with pytest.raises(UserError, match=r"the next call may cost .* is left below max_dollars"):
            run(provider, requests, store, room=worst * 0.9)
        assert server.log == []
        # Room for twelve at the worst: ten, then two beside what they hold cannot be; when they are paid, there is room
        # for ten again.
        run(provider, requests, store, room=worst * 12)
        assert server.paid == dict.fromkeys(requests, 1)
        assert server.most_open == 1
        assert len(server.batches) == 3


def test_what_may_have_been_paid_for_counts_at_its_most(store: Store) -> None:
    with serving(BatchServer(lambda prompt, time: "empty")) as server:
        provider = make_provider(server.url)
        requests = make_requests(1, provider)
        worst = next(iter(requests.values())).most_dollars(provider)
        with pytest.raises(UserError, match="max_dollars"):
            run(provider, requests, store, room=2.5 * worst)
        assert sum(server.paid.values()) == 2


def worst_of_all(server: BatchServer) -> float:
    """Dollars of the dearest of the calls that :func:`ends_at_its_limit` makes, at the most."""
    chosen = make_provider(server.url)
    return max(request.most_dollars(chosen) for request in make_requests(30, chosen).values())


def ends_at_its_limit(server: BatchServer, store: Store, dollars: float, **changes: Any) -> str:
    """The message of a run as the steps make it, in the store's folder, that ends because of ``max_dollars``."""
    chosen = make_provider(server.url, max_dollars=dollars, **changes)
    with Store(store.folder) as opened, pytest.raises(UserError, match=r"below max_dollars|would be passed") as caught:
        complete_all(list(make_requests(30, chosen).values()), chosen, opened, "test")
    return str(caught.value)


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 2, "output_tokens": 3}, {"prompt_tokens": "2"}], ids=str)
def test_max_dollars_holds_whatever_usage_is(store: Store, usage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    with serving(BatchServer()) as server:
        server.usage = usage
        worst = worst_of_all(server)
        for _ in range(3):
            ends_at_its_limit(server, store, worst * 5.5, batch=batch(size=2))
            assert sum(server.paid.values()) == 5
        ends_at_its_limit(server, store, worst * 5.5, batch=None)
        assert server.log.count("create") == 3


def test_what_a_batch_lost_counts_also_for_later_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    with serving(BatchServer(lambda prompt, time: "empty")) as server:
        worst = worst_of_all(server)
        for _ in range(3):
            said = ends_at_its_limit(server, store, worst * 5.5)
            assert sum(server.paid.values()) == 5
        assert f"at most ${worst * 5:.4f}"[:-1] in said


def test_what_waits_in_a_batch_counts_for_live_calls(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    with serving(BatchServer()) as server:
        interrupted(server, store, 10, 10)
        held = sum(journal["dollars_at_most"] for journal in journals(store))
        said = ends_at_its_limit(server, store, held * 1.01, batch=None)
        assert f"at most ${held:,.4f} more" in said
        chosen = make_provider(server.url, max_dollars=held * 1.01)
        with Store(store.folder) as opened:
            complete_all(list(make_requests(10, chosen).values()), chosen, opened, "test")
        assert (len(server.batches), sum(server.paid.values())) == (1, 10)


def test_answers_of_another_model_are_refused_and_wait_there(store: Store) -> None:
    with serving(BatchServer()) as server:
        server.model = "subtractor"
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        said = r"batch-0: 'subtractor' answered, and 'adder' was asked.* served_as of teacher.* rename .* 1 batch stays"
        with pytest.raises(UserError, match=said):
            run(provider, requests, store)
        assert (len(store), [journal["done"] for journal in journals(store)]) == (0, [False])
        run(make_provider(server.url, served_as=["subtractor"]), requests, store)
        assert (len(store), server.paid) == (10, dict.fromkeys(requests, 1))


def test_answers_of_another_step_s_model_wait_for_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(BatchServer()) as server:
        interrupted(server, store, 5, 5)
        (waiting,) = server.batches.values()
        waiting["states"].extend(["completed"])
        waiting["states"].extendleft(["completed"] * 5)
        server.model = "subtractor"
        other = make_provider(server.url, model="subtractor")
        run(other, make_requests(3, other), store)
        assert "batch-0 has answers of 'adder' to other calls" in capsys.readouterr().out
        assert len(store) == 3
        run(make_provider(server.url), make_requests(5, make_provider(server.url)), store)
        assert len(store) == 8
        assert set(server.paid.values()) == {1}


@pytest.mark.parametrize("kind", ["upload", "create", "retrieve", "content"])
def test_redirects_are_not_followed(store: Store, kind: str) -> None:
    """Questions, keys and answers are between us and the provider."""
    with serving(BatchServer()) as server, serving(BatchServer()) as stranger:
        server.location = f"{stranger.url}/taken"
        server.faults[kind].append(307)
        provider = make_provider(server.url)
        said = rf"HTTP 307, a redirect to {stranger.url}/taken\. It is not followed.* set base_url to it"
        with pytest.raises(UserError, match=said):
            run(provider, make_requests(10, provider), store)
        assert (len(store), stranger.log) == (0, [])


@pytest.mark.parametrize(
    "odd",
    [
        {"request_counts": {"total": "10", "completed": "10", "failed": None}},
        {"request_counts": {"completed": [10]}},
        {"request_counts": {"completed": float("nan")}},
        {"request_counts": [10]},
        {"request_counts": "all"},
        {"error_file_id": 5},
        {"errors": "none"},
        {"errors": {"data": [7, {"code": ["x"]}]}},
        {"metadata": [1]},
    ],
    ids=str,
)
def test_what_is_odd_in_a_batch_does_not_block_it(store: Store, odd: dict[str, Any]) -> None:
    with serving(BatchServer()) as server:
        server.odd = odd
        server.files["5"] = b"\n"
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        run(provider, requests, store)
        assert (len(store), server.paid) == (10, dict.fromkeys(requests, 1))


def test_a_body_that_trickles_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "BODY_SECONDS", 0.2)
    with serving(BatchServer()) as server:
        server.faults["retrieve"].append("drip")
        provider = make_provider(server.url, timeout=REACHED)
        requests = make_requests(10, provider)
        run(provider, requests, store)
        assert server.paid == dict.fromkeys(requests, 1)
        assert not server.faults["retrieve"]


def test_a_file_without_end_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "SPARE_LINES", 20)
    for content, size in ((b"\n" * 100_000, 1 << 20), (b"x" * 100_000, 50_000)):
        monkeypatch.setattr(endpoint, "MOST_BYTES", size)
        with serving(BatchServer()) as server:
            server.at = lambda moment, server=server, content=content: server.files.update(  # type: ignore[misc]
                {name: content for name in server.files if name != "file-0"}
            )
            provider = make_provider(server.url)
            with pytest.raises(UserError, match=rf"{server.url}/: file file-1 has more than .* 1 batch stays"):
                run(provider, make_requests(10, provider), Store(store.folder / str(size)))


def test_money_runs_out_cleanly(store: Store) -> None:
    with serving(BatchServer()) as server:
        provider = make_provider(server.url, batch=batch(size=10))
        requests = make_requests(100, provider)
        worst = max(request.most_dollars(provider) for request in requests.values())
        room = worst * 1.2
        with pytest.raises(UserError, match="max_dollars"):
            run(provider, requests, store, room=room)
        assert room - worst - 1e-9 < len(store) * 4e-6 <= room
        assert set(server.paid.values()) == {1}


def test_bytes_limit_a_batch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(BatchServer()) as server:
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        monkeypatch.setattr(backlog, "MAX_BYTES", 700)
        run(provider, requests, store)
        assert max(map(len, server.files.values())) > 0
        assert all(len(server.files[found["input_file_id"]]) <= 700 for found in server.batches.values())
        assert len(server.batches) > 2
        assert len(store) == 10


class Killed:
    """The program of ``batch_server`` with this server, killed at the n-th of a moment, or after some seconds."""

    def __init__(self, server: BatchServer, store: Path, count: int, size: int) -> None:
        self.server = server
        self.command = [sys.executable, "-m", "batch_server", "--url", server.url, "--store", str(store)]
        self.command += ["--count", str(count), "--size", str(size)]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # a suite in the background of a shell has it ignored
        )

    def kill_at(self, moment: str, nth: int, number: signal.Signals = signal.SIGKILL) -> str:
        seen = 0

        def at(now: str) -> None:
            nonlocal seen
            seen += now == moment
            if now == moment and seen == nth:
                program.send_signal(number)
                if number == signal.SIGKILL:
                    program.wait()
                else:
                    time.sleep(2)  # the answer waits, so that the program hears the signal before it

        self.server.at = at
        program = self.start()
        output, _ = program.communicate(timeout=PATIENCE)
        self.server.at = lambda moment: None
        assert number != signal.SIGKILL or program.returncode in {-signal.SIGKILL, 0}, output
        return output


def check(server: BatchServer, store: Path, count: int) -> None:
    """Every call is in the store, and was paid for once."""
    requests = make_requests(count, make_provider(server.url))
    with Store(store) as opened:
        assert all(key in opened for key in requests)
        assert len(opened) == count
    assert server.paid == dict.fromkeys(requests, 1)


@pytest.mark.parametrize(("moment", "nth"), [("uploaded", 2), ("created", 2), ("polled", 3), ("downloading", 2)])
def test_sigkill_at_a_moment(tmp_path: Path, moment: str, nth: int) -> None:
    """At ``created`` the batch exists, and the program has not heard of it: it finds it by its mark, on the second page
    of the list."""
    with serving(BatchServer()) as server:
        program = Killed(server, tmp_path, 50, 10)
        program.kill_at(moment, nth)
        with Store(tmp_path) as opened:
            assert len(opened) == (10 if moment == "downloading" else 0), "it was killed too late"
        if moment == "created":
            for _ in range(4):
                server.create({"input_file_id": server.add_file(b""), "endpoint": "", "completion_window": ""})
        finished = program.start()
        assert "error" not in finished.communicate(timeout=PATIENCE)[0]
        assert finished.returncode == 0
        check(server, tmp_path, 50)
        assert len(server.log) > 20
        assert ("list" in server.log) == (moment == "created")


@pytest.mark.slow
def test_sigkills_at_random(tmp_path: Path) -> None:
    chance = random.Random(7)
    with serving(BatchServer()) as server:
        program = Killed(server, tmp_path, 120, 10)
        for _ in range(4):
            moment = chance.choice(["uploaded", "created", "polled", "downloading"])
            program.kill_at(moment, chance.randint(1, 3))
        finished = program.start()
        finished.communicate(timeout=PATIENCE)
        assert finished.returncode == 0
        check(server, tmp_path, 120)


def test_ctrl_c_leaves_the_batches_and_says_so(tmp_path: Path) -> None:
    with serving(BatchServer()) as server:
        program = Killed(server, tmp_path, 50, 10)
        output = program.kill_at("polled", 2, signal.SIGINT)
        assert "5 batches stay with the provider; the same command picks up the answers" in output
        assert "cancel" not in server.log
        assert program.start().wait(PATIENCE) == 0
        check(server, tmp_path, 50)


def interrupted(server: BatchServer, store: Store, count: int, size: int) -> None:
    """A run that ends while its batches are under way."""
    provider = make_provider(server.url, batch=batch(size=size))
    server.faults["retrieve"].append(401)
    with pytest.raises(UserError, match=r"401.*stay"):
        run(provider, make_requests(count, provider), store)


def test_the_journals_of_a_store_that_was_copied_go_with_it(store: Store, tmp_path: Path) -> None:
    """Both copies fetch what was submitted once."""
    with serving(BatchServer()) as server:
        interrupted(server, store, 30, 10)
        shutil.copytree(store.folder, tmp_path / "copy")
        provider = make_provider(server.url)
        requests = make_requests(30, provider)
        run(provider, requests, store)
        with Store(tmp_path / "copy") as copy:
            run(provider, requests, copy)
            assert len(copy) == len(store) == 30
        assert server.paid == dict.fromkeys(requests, 1)


def test_calls_of_another_step_are_fetched_if_ready_and_never_waited_for(store: Store) -> None:
    with serving(BatchServer()) as server:
        provider = make_provider(server.url)
        interrupted(server, store, 30, 30)
        others = dict(list(make_requests(40, provider).items())[30:])
        (waiting,) = server.batches.values()
        waiting["states"].extend(["completed"])
        waiting["states"].extendleft(["in_progress"] * 50)
        run(provider, others, store)
        assert len(store) == 10
        assert [journal["done"] for journal in journals(store)].count(False) == 1
        waiting["states"].clear()
        waiting["states"].append("completed")
        run(provider, make_requests(41, provider), store)
        assert len(store) == 41
        assert set(server.paid.values()) == {1}


def test_calls_that_wait_elsewhere_are_not_submitted_here(store: Store) -> None:
    with serving(BatchServer()) as server, serving(BatchServer()) as other:
        interrupted(server, store, 30, 10)
        provider = make_provider(other.url)
        with pytest.raises(UserError, match=r"10 of the calls wait in batch batch-\d at .*Set base_url back"):
            run(provider, make_requests(30, provider), store)
        assert other.log == []


def test_a_batch_that_the_provider_does_not_know_is_not_paid_for_again_unasked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(BatchServer()) as server:
        interrupted(server, store, 10, 10)
        server.batches.clear()
        provider = make_provider(server.url)
        requests = make_requests(10, provider)
        with pytest.raises(
            UserError,
            match=r"batch-\w+\.json: the provider does not know batch batch-0.*; 10 of its calls are open.* rename ",
        ) as caught:
            run(provider, requests, store)
        path = Path(str(caught.value).split(":")[0])
        held = json.loads(path.read_text())["dollars_at_most"]
        path.rename(f"{path}.lost")
        monkeypatch.setenv("M1_TEST_KEY", KEY)
        assert f"at most ${held:,.4f} more" in ends_at_its_limit(server, store, held * 1.01)
        run(provider, requests, store)
        assert len(store) == 10


@pytest.mark.parametrize("damage", [lambda text: text[:50], lambda text: '{"done": false}', lambda text: "[]"])
def test_a_damaged_journal_is_named(store: Store, damage: Callable[[str], str]) -> None:
    with serving(BatchServer()) as server:
        interrupted(server, store, 10, 10)
        (path,) = (store.folder / "batches").iterdir()
        path.write_text(damage(path.read_text()))
        provider = make_provider(server.url)
        with pytest.raises(UserError, match=r"batch-\w+\.json: not"):
            run(provider, make_requests(10, provider), store)


def test_a_content_filter_refuses_by_any_status() -> None:
    assert is_refusal(403, "HTTP 403: content_filter")
    assert not is_refusal(403, "HTTP 403: no such correct")


@pytest.mark.parametrize(
    ("line", "status", "found"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, 503, "batch_expired: late"),
        ({"error": {"code": 429, "message": "slow"}}, 429, "429: slow"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, 502, "without a completion"),
        ({"response": {"status_code": 200, "body": "<html>"}}, 502, "<html>"),
        (
            {"response": {"status_code": 200, "body": {"choices": [{"message": {"content": 1}}]}}},
            502,
            "without a completion",
        ),
        ({"response": {"status_code": 400, "body": {"error": {"code": "content_filter"}}}}, 400, "content_filter"),
    ],
)
def test_lines(line: dict[str, Any], status: int, found: str) -> None:
    key, code, value = read_line(json.dumps({"custom_id": "k", **line}).encode())
    assert (key, code) == ("k", status)
    assert isinstance(value, str)
    assert found in value
