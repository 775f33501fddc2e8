"""One message and exit code 1 instead of a traceback; anything unforeseen keeps its traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from m1.core.errors import first_line, printable
from m1.core.store import Store

WORKFLOW = Path(__file__).parents[2] / "workflow"


def run(body: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\nfrom m1.core.errors import UserError, run\ndef main(argv=None):\n    {body}\nrun(main)\n"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(WORKFLOW)}, check=False
    )


def test_success_says_nothing() -> None:
    done = run("pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_user_error_is_one_message_on_both_streams() -> None:
    done = run("raise UserError('a.json: broken; mend it')")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "error: a.json: broken; mend it\n",
        "error: a.json: broken; mend it\n",
    )


def test_user_error_with_a_cause_is_still_one_message() -> None:
    done = run("raise UserError('x') from ValueError('y')")
    assert (done.returncode, done.stderr) == (1, "error: x\n")


def test_user_error_is_said_once_where_both_streams_are_one() -> None:
    command = [
        sys.executable,
        "-c",
        "from m1.core.errors import UserError, run\ndef main(argv): raise UserError('x')\nrun(main)",
    ]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONPATH": str(WORKFLOW)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "error: x\n")


def test_a_full_disk_is_one_line_wherever_it_is_met() -> None:
    done = run("open('/dev/full', 'wb', buffering=0).write(b'what does not fit')")
    assert done.returncode == 1
    said = (
        "error: a file cannot be written (No space left on device); free space, or name another folder (TMPDIR, now not"
    )
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_interrupt_is_no_traceback() -> None:
    done = run("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_defect_keeps_its_traceback() -> None:
    done = run("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


HOSTILE = "a\x1b]0;owned\x07b\x9b31mc\rd\u202ee\ud800f\x7f"
SHOWN = "a\\u001b]0;owned\\u0007b\\u009b31mc\\u000dd\\u202ee\\ud800f\\u007f"


def test_no_text_controls_the_terminal_or_the_log() -> None:
    assert printable(HOSTILE + "\n\tgö\u00a0\u3000") == SHOWN + "\n\tgö\u00a0\u3000"
    for body in (f"raise UserError({HOSTILE!a})", f"from m1.core.progress import say; say('t', {HOSTILE!a})"):
        done = run(body)
        assert SHOWN in done.stdout
        assert SHOWN in done.stderr
    defect = run(f"raise ZeroDivisionError({HOSTILE!a})")
    assert defect.returncode == 1
    assert SHOWN in defect.stderr
    assert "\x1b" not in defect.stderr


@pytest.mark.parametrize(
    ("said", "line"), [("\n no such model\nsee below", "no such model"), (" \n", "ValueError"), ("", "ValueError")]
)
def test_the_first_line_of_an_error(said: str, line: str) -> None:
    assert first_line(ValueError(said)) == line


READ = HOSTILE.replace("\ud800", "\ufffd")  # a lone surrogate is normalised when it is read


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_text_of_a_provider_controls_the_terminal_of_a_command(flags: list[str], tmp_path: Path) -> None:
    with Store(tmp_path / "teacher") as store:
        message = {"content": "B"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        for number, served in enumerate((HOSTILE, "sk-live-ABCDEFGH12345678ijklmnop")):
            store.put(str(number), {"message": message, "finish_reason": HOSTILE, "usage": usage, "served": served})
    done = subprocess.run(
        [sys.executable, "-m", "m1", "store", "stats", tmp_path, *flags],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(WORKFLOW)},
    )
    assert done.returncode == 0, done.stderr
    assert not set("\x1b\x07\x9b\r\x7f") & set(done.stdout + done.stderr)
    assert "ABCDEFGH" not in done.stdout
    if flags:
        assert READ in [row["model"] for row in json.loads(done.stdout)["models"]]
    else:
        assert printable(READ) in done.stdout
