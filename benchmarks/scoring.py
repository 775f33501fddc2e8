"""Scoring of real responses: accuracy of every file under every protocol beside what upstream published, and
disagreements to read.

    python benchmarks/scoring.py                     # the table of docs/statistics.md, in Markdown
    python benchmarks/scoring.py --read 10 --seed 0  # and ten disagreements of each file, with what each protocol makes
    of them

Responses and questions are below ``M1_SHARED_DATA`` (or ``../shared/data``). Of five samples of one question each is a
response; a response that is null is empty; responses to questions that are not there are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.core.answers import Match  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.core.records import LETTERS, Question  # noqa: E402
from m1.score.match import decide, extract, final_response, is_ambiguous  # noqa: E402
from m1.score.settings import SCORING_PROTOCOLS, ScoringProtocol  # noqa: E402

DATA = Path(os.environ.get("M1_SHARED_DATA", ROOT / ".." / "shared" / "data"))
FILES = (
    "huatuogpt_o1_8b_medqa5",
    "medmcqa_train_gpt4_explanations",
    "medqa4_llama2_7b_cot",
    "medxpertqa_mistral_small_cot",
    "medxpertqa_qwen25vl_cot_sc5",
    "mirage_medmcqa_cot_gpt-35-turbo-16k",
    "mirage_medqa_cot_gpt-35-turbo-16k",
    "mirage_medqa_cot_gpt-4-32k",
    "mirage_pubmedqa_cot_gpt-35-turbo-16k",
    "mmlu_pro_medical_Llama-2-7b-hf",
    "mmlu_pro_medical_Meta-Llama-3_1-8B-Instruct",
    "mmlu_pro_medical_Qwen1.5-7B-Chat",
    "mmlu_pro_medical_gemini-1.5-flash-002",
    "medagentsbench_predicted_letters",
    "m1_qwen_empty_box",
)
"""Every file of responses. The last two have no texts of questions: options stand in, and the last has no right answer
either."""


class Response(NamedTuple):
    """A response to a question, with the letter that upstream read in it (empty for none; None where upstream published
    no reading)."""

    question: Question
    text: str
    upstream: str | None


class Scored(NamedTuple):
    """A response with what every protocol makes of it."""

    response: Response
    matches: dict[ScoringProtocol, Match]

    @property
    def disagree(self) -> bool:
        return len({match.letter for match in self.matches.values()}) > 1


def records(name: str) -> list[dict[str, Any]]:
    """Records of a file of the data, gzipped or not."""
    for path in (DATA / f"{name}.jsonl.gz", DATA / f"{name}.jsonl"):
        if path.is_file():
            with (
                gzip.open(path, "rt", encoding="utf-8")
                if path.suffix == ".gz"
                else path.open(encoding="utf-8") as stream
            ):
                return [json.loads(line) for line in stream]
    raise UserError(f"{DATA / name}.jsonl.gz: not there. Set M1_SHARED_DATA to the folder of the real data.")


def question(options: Sequence[str], answer: str) -> Question:
    """A question as scoring needs it: the right letter and the options."""
    return Question("q", "real", "?", None, tuple(options), answer)


@cache
def questions(dataset: str) -> dict[Any, Question]:
    """Questions by what responses point at them with: id, pubid, question_id or index."""
    found = {}
    for index, row in enumerate(records(dataset)):
        if dataset.startswith("medmcqa"):
            found[row["id"] or index] = question([row["opa"], row["opb"], row["opc"], row["opd"]], LETTERS[row["cop"]])
        elif dataset.startswith("pubmedqa"):
            found[row["pubid"]] = question(
                ["yes", "no", "maybe"], {"yes": "A", "no": "B", "maybe": "C"}[row["final_decision"]]
            )
        elif dataset.startswith("medxpertqa"):
            found[row["id"]] = question(list(row["options"].values()), row["label"])
        else:
            found[row.get("question_id", index)] = question(list(row["options"].values()), row["answer_idx"])
    return found


def responses(name: str) -> Iterator[Response]:
    """Every response of a file, in order."""
    for row in records(f"responses/{name}"):
        if "predicted" in row:
            yield Response(
                question([f"choice {n}" for n in range(row["n_options"])], row["gold"]),
                row["predicted"] or "",
                row["predicted"],
            )
        elif "upstream_extracted" in row:
            yield Response(question(["first choice", "second choice"], "A"), row["response"], "")
        elif asked := questions(row["dataset"]).get(
            next(row[key] for key in ("id", "pubid", "question_id", "index") if key in row)
        ):
            texts = row.get("samples") or [row["response"] or ""]
            upstream = (row["upstream_pred"] or "") if "upstream_pred" in row and len(texts) == 1 else None
            for text in texts:
                yield Response(asked, text, upstream)


def scored(name: str) -> list[Scored]:
    """Every response of a file under every protocol."""

    def matches(response: Response) -> dict[ScoringProtocol, Match]:
        return {
            protocol: decide(extract(response.text, protocol), response.question, protocol)
            for protocol in SCORING_PROTOCOLS
        }

    return [Scored(response, matches(response)) for response in responses(name)]


def table_row(name: str, rows: Sequence[Scored]) -> str:
    """A row of the table: accuracy in percent (share of all responses), and counts."""

    def percent(right: Sequence[bool]) -> str:
        return f"{100 * sum(right) / len(right):.1f}"

    cells = [
        percent([row.matches[protocol].letter == row.response.question.answer for row in rows])
        for protocol in SCORING_PROTOCOLS
    ]
    upstream = [row.response.upstream for row in rows]
    cells.append(
        "–" if None in upstream else percent([row.response.upstream == row.response.question.answer for row in rows])
    )
    silent = sum(not row.matches["strict"].letter for row in rows)
    guessed = sum(row.matches["released"].rule == "most similar option" for row in rows)
    ambiguous = sum(is_ambiguous(row.response.question) for row in rows)
    disagree = sum(row.disagree for row in rows)
    counts = [f"{count:,}" for count in (silent, guessed, disagree, ambiguous)]
    return f"| {' | '.join([name, f'{len(rows):,}', *cells, *counts])} |"


def excerpt(row: Scored, width: int = 700) -> str:
    """A disagreement to read: what each protocol decides, the options, and the ends of the text that they see."""
    text = final_response(row.response.text)
    shown = text if len(text) <= width else f"{text[: width // 2]} […] {text[-width // 2 :]}"
    verdicts = ", ".join(
        f"{protocol} {match.letter or 'none'} ({match.rule})" for protocol, match in row.matches.items()
    )
    options = " | ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, row.response.question.options))
    return f"right {row.response.question.answer}: {verdicts}\n  {options[:300]}\n  > {shown.strip()}\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, then the disagreements asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--files", nargs="+", choices=FILES, default=FILES, metavar="FILE", help="files of responses (default: all)"
    )
    parser.add_argument("--read", type=int, default=0, help="disagreements of each file to print after the table")
    parser.add_argument("--seed", type=int, default=0, help="of their draw")
    arguments = parser.parse_args(argv)
    print(
        "| file | responses | released | first | strict | upstream | strict: no answer | released: "
        "most similar | disagree | case only |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    to_read = []
    for name in arguments.files:
        rows = scored(name)
        print(table_row(name, rows), flush=True)
        differing = [row for row in rows if row.disagree]
        for row in random.Random(arguments.seed).sample(differing, min(arguments.read, len(differing))):
            to_read.append(f"{name}, {excerpt(row)}")
    print("", *to_read, sep="\n")


if __name__ == "__main__":
    run(main)
