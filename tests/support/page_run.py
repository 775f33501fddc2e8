"""A small run of two models, of which tests make the report's page."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from byte_tokenizer import bytes_tokenizer
from m1.core import records
from m1.core.records import Prediction, Question, Rollout, Score
from m1.report import page
from m1.report.settings import Model, RuleManifests
from shown import save_shown

PAPER = Path(__file__).parents[2] / "resources" / "paper"
BUDGETS = (4, 8, 16)
FORCED = (1, 2)
VERDICTS = ("FFFFFF", "TTTTTT", "TFFTTT", "FTTTFF", "TFTFTF", "FFFFFT")
"""Correct or incorrect of a question: without thinking, at three budgets, at two forced counts."""


def answer_tables(everywhere: str = "") -> dict[str, list[list[str]]]:
    """What the page opens on, of two averages and two cells of one claim and one row: Table 1, comparison and claims.

    ``everywhere`` takes the place of every text that is not a number, but for the kind of a line.
    """
    compare = [
        "table,published,published_accuracy,published_low,published_high,benchmark,model,label,accuracy,low,high,"
        "difference,difference_low,difference_high,margin,smallest_margin,verdict,why",
        "table1,m1-7B-1K,57.76,57.02,58.50,average,think,Think,57.26,56.50,58.00,-0.50,-1.75,0.75,2,1.3,reproduced,less",
        "table1,m1-7B-23K,60.32,59.60,61.00,average,base,Base,,,,,,,2,,out of reach,other questions",
        "table1,m1-7B-1K,58.26,,,medmcqa,think,Think,,,,,,,3,1.79,differs,beyond chance",
        "table1,m1-7B-1K,51.79,,,gpqa,think,Think,,,,,,,3,5.90,cannot tell,these n show no margin below 5.9 points",
    ]
    claims = [
        "id,words,says,unit,tables,tables_low,tables_high,tables_verdict,found,low,high,verdict,why",
        "gain,thinking helps,gain,points,6.18,5.40,6.93,shown,1.00,-1.00,3.00,not seen,as published",
    ]
    found = {"compare": compare, "claims": claims, "table1": ["group,model,Avg.", "<10B LLMs,Think,57.26"]}
    tables = {name: [line.split(",") for line in lines] for name, lines in found.items()}
    for rows in tables.values() if everywhere else ():
        rows[1:] = [
            [cell if not cell or cell == "average" or cell[-1].isdigit() else everywhere for cell in row]
            for row in rows[1:]
        ]
    return tables


class Run:
    """Files of a small run: two models on questions of two benchmarks; ``think`` thinks, ``base`` does not.

    ``everywhere`` takes the place of what else the page shows: labels, sources, rules, headings, manifests.
    """

    def __init__(self, folder: Path, texts: dict[str, str], everywhere: str = "") -> None:
        self.folder, self.everywhere = folder, everywhere
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = bytes_tokenizer(folder / "model")
        questions = {key: [] for key in ("medqa", "gpqa")}
        scores, predictions, rollouts = [], [], []
        for number, (name, text) in enumerate(texts.items()):
            key = "gpqa" if number % 2 else "medqa"
            questions[key].append(
                Question(
                    name,
                    everywhere or key,
                    f"Stem of {name}: {text}",
                    text if number % 3 else None,
                    ("yes", text, "no"),
                    "B",
                )
            )
            thinking = tuple(tokenizer.encode(f"So: {text}").ids)
            forced = tuple(tokenizer.encode("Wait, but Wait, hm").ids)
            ended = len(thinking) < BUDGETS[-1]
            if ended:
                rollout = Rollout(name, key, "think", thinking, "stop", forced, (len(thinking), len(thinking) + 10))
            else:
                rollout = Rollout(name, key, "think", thinking[: BUDGETS[-1]], "length")
            rollouts.append(rollout)
            for i, (model, budget, count) in enumerate(
                [
                    ("base", 0, 0),
                    *(("think", budget, 0) for budget in BUDGETS),
                    *(("think", BUDGETS[-1], count) for count in FORCED),
                ]
            ):
                correct = VERDICTS[number % len(VERDICTS)][i] == "T"
                answer = f"\\boxed{{{text}}}"
                length = len(rollout.thinking(budget, count)) if model == "think" else 0
                shared = (name, key, model, budget, count)
                predictions.append(Prediction(*shared, length, length < budget, answer, 5))
                scores.append(
                    Score(
                        name,
                        key,
                        *shared[1:],
                        length < budget,
                        length,
                        5,
                        text,
                        "B" if correct else "",
                        correct,
                        everywhere or ("boxed text" if correct else "none"),
                    )
                )
        for key, rows in questions.items():
            records.write(folder / "benchmarks" / f"{key}.parquet", rows, Question)
        records.write(folder / "scores.parquet", scores, Score)
        for model in ("base", "think"):
            mine = [prediction for prediction in predictions if prediction.model == model]
            records.write(folder / "infer" / model / "predictions.parquet", mine, Prediction)
        records.write(folder / "infer/think/rollouts.parquet", rollouts, Rollout)
        with (folder / "sorted.csv").open("w", newline="") as stream:
            rows = [[name, text, 9 - number, "reproduced"] for number, (name, text) in enumerate(texts.items())]
            heads, none = ["name", everywhere or "text", "k", "verdict"], ["none", "", "missing", ""]
            csv.writer(stream).writerows([heads, none, *rows, ["last", "", 100, "differs"]])
        for name, rows in answer_tables(everywhere).items():
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(rows)
        (folder / "figure1.png").write_bytes(PNG)
        packages = {everywhere or "torch": everywhere or "9.9"}
        made = {"commit": everywhere or "0123456789abcdef", "dirty": False, "packages": packages}
        counts = {everywhere or "questions": 1234}
        (folder / "manifest.json").write_text(json.dumps({"made_by": made, "counts": counts, "seconds": 12.3}))

    def make(
        self,
        megabytes: float = 60,
        output: str = "report.html",
        scores: Sequence[str] = ("scores.parquet",),
        **shown: Any,
    ) -> Path:
        """Run the module."""
        known = {
            "models": (
                Model("base", self.everywhere or "Base <i>", None),
                Model("think", self.everywhere or "Think", "model"),
            ),
            "benchmarks": ("medqa", "gpqa"),
            "manifests": (RuleManifests("infer_sweep", ("manifest.json",)),),
            "page_tables": ("sorted", "table1", "compare", "claims"),
            "page_figures": ("figure1",),
            "note": self.everywhere or "</script> & remark",
        }
        arguments = [
            *("--shown", save_shown(self.folder, **(known | shown), page_megabytes=megabytes)),
            *("--scores", *(self.folder / name for name in scores)),
            *("--benchmarks", PAPER / "benchmarks.csv", "--output", self.folder / output),
        ]
        page.main(list(map(str, arguments)))
        return self.folder / output


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
