"""Files of scores for tests of the report: hundreds of thousands in a moment, as columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from m1.core import records
from m1.core.records import Score
from m1.report import scores

COLUMNS = [*scores.QUESTION, "correct"]
PAPER = Path(__file__).parents[2] / "resources" / "paper"


def outcomes(
    model: str,
    benchmark: str,
    correct: Sequence[bool] | np.ndarray,
    budget: int = 2048,
    forced: int = 0,
    tokens: Sequence[int] | int = 7,
    ended: Sequence[bool] | bool = True,
) -> pa.Table:
    """Scores of the questions ``{benchmark}-{i}`` at one setting."""
    n = len(correct)
    values = {
        "question_id": [f"{benchmark}-{i}" for i in range(n)],
        "source": [benchmark] * n,
        "benchmark": [benchmark] * n,
        "model": [model] * n,
        "budget": [budget] * n,
        "forced": [forced] * n,
        "ended": np.broadcast_to(ended, n),
        "thinking_tokens": np.broadcast_to(tokens, n),
        "answer_tokens": [3] * n,
        "extracted": [""] * n,
        "letter": np.where(correct, "A", "B").tolist(),
        "correct": np.asarray(correct, dtype=bool),
        "rule": ["boxed letter"] * n,
    }
    schema = records.schema(Score)
    return pa.table([pa.array(values[field.name], type=field.type) for field in schema], schema=schema)


def counted(model: str, benchmark: str, k: int, n: int, budget: int = 2048, forced: int = 0) -> pa.Table:
    """Make n scores, of which k are correct."""
    return outcomes(model, benchmark, np.arange(n) < k, budget, forced)


def save(path: Path, *parts: pa.Table) -> Path:
    """Write all parts into one file."""
    pq.write_table(pa.concat_tables(parts), path)
    return path


def frame(rows: Sequence[Score]) -> pd.DataFrame:
    """Records as :func:`m1.report.scores.read_scores` gives them."""
    return scores.refuse_repeats(
        pd.DataFrame([[getattr(row, name) for name in COLUMNS] for row in rows], columns=COLUMNS)
    )
