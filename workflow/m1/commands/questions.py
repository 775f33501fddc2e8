"""Find the questions of each step of a configuration, or their number, before the step runs; part of ``make plan``."""

import csv
from pathlib import Path

from m1.core import records
from m1.core.errors import UserError
from m1.core.places import source_file
from m1.core.records import Question
from m1.core.settings import Source
from m1.core.sources import read as read_source
from m1.wiring.run import Run

# Share of the collection that deduplication and decontamination leave (3.1); Table 3 has no row for it.
DEDUPLICATED = 192_023 / 196_157
# The same of the embedded world's pools, then the shares that its tiny models do not solve, and that its teacher does.
WORLD_SHARES = (3325 / 3600, 2095 / 3325, 1734 / 2095)


def _require_rows(rows: int | None, entry: str) -> int:
    if rows is None:
        what = f"data.{entry}: how many records it has is not known before it is read."
        raise UserError(f"{what} Give its `rows` in the configuration.")
    return rows


class Questions:
    """The questions of each step if their file exists, or else how many there will be."""

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config
        self.results = Path(run.config["pathvars"]["results"])
        with open(source_file("resources/paper/table3.csv"), newline="", encoding="utf-8") as stream:
            paper = {row["Dataset"]: int(row["Summation"]) for row in csv.DictReader(stream)}
        self.unique_share = DEDUPLICATED
        self.hard_share = paper["+After difficulty filtering"] / (paper["Initial collection"] * DEDUPLICATED)
        self.correct_share = paper["+Generating thinking data"] / paper["+After difficulty filtering"]
        if all(self._of_world(run.config["pools"][name]["path"]) for name in run.config["pools"]):
            self.unique_share, self.hard_share, self.correct_share = WORLD_SHARES
        self._read: dict[Path, list[Question]] = {}

    def read(self, name: str) -> list[Question] | None:
        """The questions of a file below the results; None if there is no such file."""
        path = self.results / name
        if path not in self._read and path.exists():
            self._read[path] = records.read(path, Question)
        return self._read.get(path)

    def rows(self, name: str) -> int | None:
        """The number of rows of a Parquet file below the results; None if there is no such file."""
        import pyarrow.parquet as pq

        path = self.results / name
        try:
            return pq.read_metadata(path).num_rows if path.exists() else None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error

    def size(self, kind: str, name: str) -> int | None:
        """The number of questions of a pool or benchmark (``kind``), from its result, the registry or the local file;
        None if nobody knows."""
        if (made := self.rows(f"{kind}/{name}.parquet")) is not None:
            return made
        source, entry = self.config[kind][name], self.config["read_from"][f"{kind}.{name}"]
        rows, path, limit, part = source["rows"], source["path"], source["limit"], source["part"]
        if rows is None and self._of_world(path):
            world = self.config["world"]
            rows = world["pools"][Path(path).stem] if kind == "pools" else world["benchmark_size"]
        elif rows is None and path and Path(path).exists():
            rows = len(read_source(Source.from_parts(source), entry)[1])
        if part and part["take"] == "first":
            rows = part["size"]
        elif part and rows is not None:
            rows -= part["size"]
        return min((one for one in (rows, limit) if one is not None), default=None)

    def _of_world(self, path: str | None) -> bool:
        return bool(path) and str(path).startswith(f"{self.results}/world/")

    def pool_size(self, name: str) -> int:
        """The number of questions of a pool; raises a :class:`UserError` if it is not known before the set is read."""
        return _require_rows(self.size("pools", name), self.config["read_from"][f"pools.{name}"])

    def collection_size(self) -> int:
        """The number of questions of the collection after deduplication and decontamination."""
        made = self.rows("pools/merged.parquet")
        return round(sum(map(self.pool_size, self.config["pools"])) * self.unique_share) if made is None else made

    def hard_size(self) -> int:
        """The number of questions that no screening model solves."""
        made = self.rows("screen/hard.parquet")
        return round(self.collection_size() * self.hard_share) if made is None else made

    def correct_size(self) -> int:
        """The number of correct traces of the hard questions."""
        made = self.rows("distill/hard.parquet")
        return round(self.hard_size() * self.correct_share) if made is None else made

    def subset_size(self, name: str) -> int:
        """The number of samples of a training subset."""
        if (made := self.rows(f"select/{name}.parquet")) is not None:
            return made
        subset = self.config["subsets"][name]
        if entry := self.run.published["subsets"].get(name):
            rows = _require_rows(self.config["data"][entry]["rows"], entry)
            return min(rows, subset.get("size") or rows)
        return self.subset_size(subset["like"]) if "like" in subset else subset["size"] or self.correct_size()

    def leaks(self) -> set[str]:
        """Ids of the questions that the second decontamination leaves out; empty before it has run."""
        return {question.id for question in self.read("pools/leaks.parquet") or []}

    def teacher_questions(self, name: str) -> tuple[list[Question] | None, int]:
        """The questions of a teacher's set, if known, and their number."""
        file = "screen/hard.parquet" if name == "hard" else f"distill/{name}.questions.parquet"
        if (made := self.read(file)) is not None:
            return made, len(made)
        if name == "hard":
            return None, self.hard_size()
        drawn = self.config["distill"][name]
        size = drawn["size"] if "size" in drawn else self.subset_size(drawn["like"])
        known = "size" in drawn or self.rows(f"select/{drawn['like']}.parquet") is not None
        parts = [self.read(path.removeprefix("<results>/")) for path in self.run.collection]
        if known and None not in parts:
            from m1.distill.draw import draw

            leaks, collection = self.leaks(), [question for part in parts for question in part or []]
            chosen = draw(collection, size, drawn["share"], self.config["seed"])
            questions = [question for question in chosen if question.id not in leaks]
            return questions, len(questions)
        return None, min(int(size / drawn["share"]), self.collection_size())

    def labeller_questions(self) -> tuple[list[Question] | None, int]:
        """The questions with a correct trace, if known, and their number."""
        import pyarrow.parquet as pq

        collection = self.read("pools/merged.parquet")
        if collection is None or self.rows("distill/hard.parquet") is None:
            return None, self.correct_size()
        traces = pq.read_table(self.results / "distill/hard.parquet", columns=["question_id"])
        leaks = self.leaks()
        known = {question.id: question for question in collection if question.id not in leaks}
        wanted = dict.fromkeys(traces["question_id"].to_pylist())
        questions = [known[identity] for identity in wanted if identity in known]
        return questions, len(questions)
