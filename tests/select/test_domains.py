"""Domain labels: the 76 qualifiers, the strict reading of answers, and the step from the command line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from adder import Adder, addition, running
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Domain, Question, Trace
from m1.select import domains
from m1.select.rubrics import read_qualifiers
from m1.world.server import Errors, World
from providers import SETTINGS

ROOT = Path(__file__).parents[2]
QUALIFIERS = ROOT / "resources" / "mesh" / "qualifiers.csv"
PROMPT = ROOT / "resources" / "prompts" / "domain.txt"


def trace(question: Question, verdict: str = "correct") -> Trace:
    return Trace(question.id, "adder", "t", "a", "stop", 1, 1, 1, 0.0, "key", verdict)


def label(
    folder: Path, settings: dict[str, Any], count: int = 400, more: Sequence[str] = ()
) -> tuple[list[Domain], dict[str, Any]]:
    """Run the command line on ``count`` questions in two files, every tenth without a correct trace."""
    questions = [addition(n) for n in range(count)]
    records.write(folder / "a.parquet", questions[: count // 2], Question)
    records.write(folder / "b.parquet", questions[count // 2 :], Question)
    records.write(
        folder / "traces.parquet",
        [trace(q, "incorrect" if n % 10 == 0 else "correct") for n, q in enumerate(questions)],
        Trace,
    )
    arguments = [
        "--questions",
        str(folder / "a.parquet"),
        str(folder / "b.parquet"),
        "--samples",
        str(folder / "traces.parquet"),
    ]
    arguments += [
        "--calls",
        "{}",
        "--labeller",
        json.dumps(SETTINGS | {"rule": None} | settings),
        "--qualifiers",
        str(QUALIFIERS),
        "--prompt",
        str(PROMPT),
    ]
    arguments += [
        "--store",
        str(folder / "store"),
        "--output",
        str(folder / "domains.parquet"),
        "--manifest",
        str(folder / "domains.json"),
    ]
    domains.main([*arguments, *more])
    return records.read(folder / "domains.parquet", Domain), json.loads((folder / "domains.json").read_text())


@pytest.mark.server
def test_from_traces_to_domains_and_again_for_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(Adder(), Errors(flaky=0.05))
    with running(world) as url:
        labels, manifest = label(tmp_path, {"base_url": url})
        calls = world.calls
        assert calls >= 360 + 4, "answers without a code are asked again"
        assert [d.question_id for d in labels] == [addition(n).id for n in range(400) if n % 10]
        qualifiers = read_qualifiers(QUALIFIERS)
        assert all(qualifiers[d.code][0] == d.name for d in labels)
        sizes = sorted(Counter(d.code for d in labels).values())
        assert sizes[-1] > 40
        assert len(sizes) > 30
        assert sizes[len(sizes) // 2] < 8, "uneven as in Table 4"
        assert manifest["counts"]["labelled"] == sum(manifest["counts"]["domains"].values()) == 360
        assert manifest["failed"] == []
        assert manifest["spending"]["calls"] == manifest["spending"]["calls_made"] > 360
        assert "360 questions → 360 in" in capsys.readouterr().out
        before = (tmp_path / "domains.parquet").read_bytes()
        _, manifest = label(tmp_path, {"base_url": url})
        assert world.calls == calls
    assert (tmp_path / "domains.parquet").read_bytes() == before
    assert manifest["spending"]["calls_made"] == 0


class Silent(World):
    """A labeller that never gives the code for some questions, in the same words or (``varied``) in others."""

    def __init__(self, questions: list[Question], varied: bool = False) -> None:
        super().__init__(Adder(), Errors(flaky=0))
        self.stems, self.varied = [question.stem for question in questions], varied
        self.silent = 0

    def _label(self, prompt: str, attempt: int) -> str:
        if not any(stem in prompt for stem in self.stems):
            return super()._label(prompt, attempt)
        self.silent += 1
        return f"Of code 21, surely{'!' * attempt * self.varied}"


class Listener(World):
    """A labeller that keeps the turns of every call."""

    turns: list[list[tuple[str, str]]]

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.turns.append([(message["role"], message["content"]) for message in body["messages"]])
        return super().complete(body)


@pytest.mark.server
def test_the_labeller_gets_the_task_and_then_the_question_with_notes_of_a_users_file(tmp_path: Path) -> None:
    qualifiers = read_qualifiers(QUALIFIERS)
    notes = tmp_path / "notes.tsv"
    notes.write_text("Name\tScope Notes\n" + "".join(f"{name}\tNLM on {name}.\n" for name, _ in qualifiers.values()))
    world = Listener(Adder(), Errors(flaky=0))
    world.turns = []
    with running(world) as url:
        _, manifest = label(tmp_path, {"base_url": url, "notes": str(notes)}, count=10)
    (task, turn), *_ = world.turns
    assert task == ("system", PROMPT.read_text().strip())
    assert turn[0] == "user"
    assert turn[1].startswith("## Question\nWhat is")
    assert "\n* Code: 75\n* Description: NLM on Virology." in turn[1]
    assert manifest["inputs"]["notes"]["path"] == str(notes)


@pytest.mark.server
def test_questions_of_the_evaluation_are_not_labelled(tmp_path: Path) -> None:
    records.write(tmp_path / "leaks.parquet", [addition(3), addition(4)], Question)
    with running(World(Adder(), Errors(flaky=0))) as url:
        labels, _ = label(tmp_path, {"base_url": url}, count=10, more=["--leaks", str(tmp_path / "leaks.parquet")])
    assert [one.question_id for one in labels] == [addition(n).id for n in (1, 2, 5, 6, 7, 8, 9)]


@pytest.mark.server
def test_a_few_that_never_get_a_code_are_left_out_and_listed(tmp_path: Path) -> None:
    with running(Silent([addition(7)])) as url:
        labels, manifest = label(tmp_path, {"base_url": url}, count=150)
    assert manifest["failed"] == [addition(7).id]
    assert len(labels) == manifest["counts"]["labelled"] == 134


@pytest.mark.server
@pytest.mark.parametrize(("varied", "asked"), [(False, 2), (True, 6)])
def test_a_labeller_that_repeats_itself_is_not_asked_again(tmp_path: Path, varied: bool, asked: int) -> None:
    """As at temperature 0, where another seed changes nothing."""
    with running(world := Silent([addition(7)], varied)) as url:
        _, manifest = label(tmp_path, {"base_url": url, "max_retries": 5}, count=150)
    assert world.silent == asked
    assert manifest["failed"] == [addition(7).id]


@pytest.mark.server
def test_many_that_never_get_a_code_are_an_error(tmp_path: Path) -> None:
    with (
        running(Silent([addition(7), addition(8)])) as url,
        pytest.raises(UserError, match=r"2 of 135 answers name no code.*2 times.*q0007"),
    ):
        label(tmp_path, {"base_url": url}, count=150)
    assert not (tmp_path / "domains.parquet").exists()


@pytest.mark.server
def test_a_truncated_answer_is_no_answer(tmp_path: Path) -> None:
    with running(World(Adder(), Errors(flaky=0))) as url, pytest.raises(UserError, match="9 of 9 answers name no code"):
        label(tmp_path, {"base_url": url, "max_tokens": 3, "max_retries": 0}, count=10)


def test_an_unknown_question_is_told(tmp_path: Path) -> None:
    records.write(tmp_path / "a.parquet", [addition(0)], Question)
    records.write(tmp_path / "t.parquet", [trace(addition(1))], Trace)
    flags = {"questions": "a.parquet", "samples": "t.parquet", "store": "s", "output": "o", "manifest": "m"}
    arguments = [part for name, file in flags.items() for part in (f"--{name}", str(tmp_path / file))]
    with pytest.raises(UserError, match=r"t\.parquet: question q0001 is in none of .*a\.parquet"):
        domains.main(
            [
                *arguments,
                "--calls",
                "{}",
                "--labeller",
                json.dumps(SETTINGS),
                "--qualifiers",
                str(QUALIFIERS),
                "--prompt",
                str(PROMPT),
            ]
        )
