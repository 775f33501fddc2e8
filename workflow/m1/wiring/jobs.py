"""Resources that jobs with GPUs request from a scheduler, and the shards that share a model's questions."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from m1.core.files import recorded_identity
from m1.engines.settings import AnswerNote, ServeSettings
from m1.wiring.run import Run, Wildcards

Value = int | str | None


class Jobs:
    """The jobs of one stage, and the resources that each requests.

    Args:
        stage: ``train``, ``infer`` or ``screen``.
        shape: maps a job's wildcards to its number of nodes and of GPUs on each node.
        stored: whether the store has everything that a job with these wildcards and inputs makes, so that the job
            needs no GPU. Snakemake asks while it plans, when the inputs may be out of date, and again at submission.
    """

    def __init__(
        self,
        run: Run,
        stage: str,
        shape: Callable[[Wildcards], tuple[int, int]],
        stored: Callable[[Wildcards, Any], bool] = lambda wildcards, input: False,
    ) -> None:
        self.run, self.stage, self.shape, self.stored = run, stage, shape, stored
        self._known: dict[tuple[object, ...], bool] = {}

    def _resources(self, wildcards: Wildcards) -> dict[str, int]:
        name = wildcards.model if hasattr(wildcards, "model") else wildcards.base
        return self.run.resources(self.stage, str(name))

    def _is_stored(self, wildcards: Wildcards, input: Any) -> bool:
        """Whether the store serves a job, judged by its present input files; False while one of them is missing."""
        files = [Path(path) for path in input]
        if not all(path.exists() for path in files):
            return False
        asked = (str(wildcards), *((path, path.stat().st_mtime_ns) for path in files))
        if asked not in self._known:  # every resource of a job asks this, and each answer hashes files
            self._known[asked] = self.stored(wildcards, input)
        return self._known[asked]

    def threads(self, wildcards: Wildcards) -> int:
        return self._resources(wildcards)["threads"]

    def allocation(self) -> dict[str, Callable[..., Value]]:
        """Functions for Snakemake that compute each resource of a job, by the resource's name.

        A resource whose function returns None is not requested. Memory (MB) and time (minutes) grow with each attempt.
        On one node, GPUs are the resource ``gpu``, which ``--resources gpu=N`` can also limit without a scheduler. On
        several nodes, SLURM needs the GPUs per node (``gres``), and the job starts its own step (``mpi``).
        """
        cluster = self.run.config["cluster"]
        kind, longest = cluster["gpu_type"], int(cluster["longest"]) if cluster["longest"] else math.inf

        def by_shape(value: Callable[[int, int], Value]) -> Callable[..., Value]:
            def resource(wildcards: Wildcards, input: Any, attempt: int = 1) -> Value:
                nodes, gpus = self.shape(wildcards)
                # A second attempt always gets its GPUs, because the first may have found the store's records damaged.
                served = gpus and attempt == 1 and self._is_stored(wildcards, input)
                return value(1, 0) if served else value(nodes, gpus)

            return resource

        def growing(name: str, most: float = math.inf) -> Callable[..., int]:
            return lambda wildcards, attempt: int(min(self._resources(wildcards)[name] * attempt, most))

        found: dict[str, Callable[..., Value]] = {
            "mem_mb": growing("mem_mb"),
            "runtime": growing("runtime", longest),
            "slurm_partition": by_shape(lambda _, gpus: cluster["gpu_partition" if gpus else "partition"] or None),
            "nodes": by_shape(lambda nodes, _: nodes),
            "gpu": by_shape(lambda nodes, gpus: gpus if gpus and nodes == 1 else None),
            "gpu_model": by_shape(lambda nodes, gpus: kind if gpus and nodes == 1 else None),
            "gres": by_shape(lambda nodes, gpus: gres(kind, gpus) if gpus and nodes > 1 else None),
            "mpi": by_shape(lambda nodes, _: "srun" if nodes > 1 else None),
            "tasks": by_shape(lambda nodes, _: nodes if nodes > 1 else None),
            "tasks_per_gpu": by_shape(lambda nodes, _: 0 if nodes > 1 else None),
        }
        # Snakemake calls every function for every job of a plan. Leaving out those that no job needs saves seconds.
        several = self.stage == "train" and any(one["train"]["nodes"] > 1 for one in self.run.recipes.values())
        idle = {*(() if kind else ("gpu_model",)), *(() if several else ("gres", "mpi", "tasks", "tasks_per_gpu"))}
        return {name: value for name, value in found.items() if name not in idle}


def gres(kind: str, gpus: int) -> str:
    """SLURM's ``--gres`` value for a number of GPUs of a type, or of any type if ``kind`` is empty."""
    return ":".join(filter(None, ("gpu", kind, str(gpus))))


def shard_manifests(run: Run, wanted: int, folder: str, artifact: str) -> list[str]:
    """Manifests of the shards that fill the store for an artifact; an empty list where one job does everything.

    The number of shards only affects scheduling, so changing it must rerun nothing. But Snakemake reruns a step when
    the set of its input files changes, and after a screening step all trainings would follow. So an existing artifact
    keeps the shards it was made with, and a new number applies to artifacts that do not exist yet. A job on another
    host goes by the manifests that exist, because Snakemake has removed the job's own output before it starts.

    Args:
        wanted: the number of shards in the configuration.
        folder: where the manifests are.
        artifact: the output of the step that gathers the shards.
    """
    here = run.path(folder)
    found = sorted(int(file.stem.partition("-of-")[2]) for file in here.glob("1-of-*.json"))
    for count in (wanted, *found):
        if count > 1 and all((here / f"{number}-of-{count}.json").exists() for number in range(1, count + 1)):
            break
    else:
        count = 1 if run.remote or run.path(artifact).exists() else wanted
    return [f"{folder}/{number}-of-{count}.json" for number in range(1, count + 1) if count > 1]


def is_answered(
    store: str, step: str, wildcards: Wildcards, input: Any, serve: str, settings: str, files: Sequence[str]
) -> bool:
    """Whether the store has everything that a job would generate, by the note that the finished step left there.

    Args:
        step: module of the job's step, such as ``m1.infer.sweep``.
        input: the job's input files, of which ``model`` and ``template`` are read.
        files: the files of questions.
    """
    template = Path(input.template) if getattr(input, "template", None) else None
    shard = (int(wildcards.shard), int(wildcards.shards)) if is_shard(wildcards) else (1, 1)
    told = step, recorded_identity(input.model), ServeSettings.from_json(serve), settings, list(map(Path, files))
    return Path(store).is_dir() and AnswerNote.of(Path(store), *told, template, shard).questions() is not None


def is_shard(wildcards: Wildcards) -> bool:
    return "shard" in wildcards.keys()  # noqa: SIM118  (by `in` alone, Snakemake's wildcards are a list of values)


def output_flags(wildcards: Wildcards, input: Any, output: Any) -> str:
    """Flags of a step that name its output: ``--shard I/N`` for a shard, else the files to write, with ``--gather`` and
    the first shard's manifest where shards have filled the store."""
    if is_shard(wildcards):
        return f"--shard {wildcards.shard}/{wildcards.shards}"
    flags = {"rollouts": "--rollouts"}
    files = [f"{flags.get(name, '--output')} {path}" for name, path in output.items() if name != "manifest"]
    return " ".join([*files, *([f"--gather {input.shards[0]}"] if input.shards else [])])


def identities(*folders: Callable[[Wildcards], str | list[str]]) -> Callable[[Wildcards], list[str]]:
    """An input function that lists the identity files of models and tokenizers.

    Rules mark the folders themselves as ``ancient``, because Snakemake compares a folder by its time alone; the
    identity file holds a hash of the content (:func:`m1.core.files.replacing_model`).
    """

    def files(wildcards: Wildcards) -> list[str]:
        found = [folder(wildcards) for folder in folders]
        return [f"{one}.sha256" for part in found for one in ([part] if isinstance(part, str) else part)]

    return files
