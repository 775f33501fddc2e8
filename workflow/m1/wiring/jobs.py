"""What jobs with GPUs ask of a scheduler, and the shards that share a model's questions."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from m1.core.files import recorded_identity
from m1.engines.settings import Answered, ServeSettings
from m1.wiring.run import Run, Wildcards

Value = int | str | None


class Jobs:
    """The jobs of one stage: how each is shared out, and what it asks for.

    Args:
        stage: ``train``, ``infer`` or ``screen``.
        shape: nodes and GPUs on each, of a job with these wildcards.
        stored: whether the store has what a job with these wildcards and inputs makes, so that it needs no GPU.
            Snakemake asks before the inputs are up to date, and once more when they are and the job is submitted.
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
        """Whether the store serves a job, by its input files as they are now; False where one is not there yet."""
        files = [Path(path) for path in input]
        if not all(path.exists() for path in files):
            return False
        asked = (str(wildcards), *((path, path.stat().st_mtime_ns) for path in files))
        if asked not in self._known:  # each resource asks, and the answer takes hashes of files
            self._known[asked] = self.stored(wildcards, input)
        return self._known[asked]

    def threads(self, wildcards: Wildcards) -> int:
        """Cores."""
        return self._resources(wildcards)["threads"]

    def allocation(self) -> dict[str, Callable[..., Value]]:
        """Resources by name; one that is None is not asked for. Memory and time grow with each attempt.

        On one node GPUs are ``gpu``, which a limit without a scheduler counts, too. On several, SLURM needs GPUs by
        node, and a step that the job starts by itself (``mpi``).
        """
        cluster = self.run.config["cluster"]
        kind, longest = cluster["gpu_type"], int(cluster["longest"]) if cluster["longest"] else math.inf

        def by_shape(value: Callable[[int, int], Value]) -> Callable[..., Value]:
            def resource(wildcards: Wildcards, input: Any, attempt: int = 1) -> Value:
                nodes, gpus = self.shape(wildcards)
                # A second attempt is given its GPUs: what the store has may turn out to be damaged.
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
        # Snakemake calls each of them for every job of a plan; so those are left out that none of the jobs asks for.
        several = self.stage == "train" and any(one["train"]["nodes"] > 1 for one in self.run.recipes.values())
        idle = {*(() if kind else ("gpu_model",)), *(() if several else ("gres", "mpi", "tasks", "tasks_per_gpu"))}
        return {name: value for name, value in found.items() if name not in idle}


def gres(kind: str, gpus: int) -> str:
    """SLURM's name for GPUs of a kind, any where it is empty."""
    return ":".join(filter(None, ("gpu", kind, str(gpus))))


def shard_manifests(run: Run, wanted: int, folder: str, artifact: str) -> list[str]:
    """Manifests in a folder, of the shards that fill the store for an artifact; none where one job does all.

    The number of shards only affects scheduling, and changing it must rerun nothing. Yet Snakemake reruns a step when
    the set of its input files changes, and after a screen all trainings. So an artifact that is there keeps the shards
    it was made with; another number holds for what is made anew. A job on another host goes by what is there, as its
    own output has been removed before it starts. ``wanted`` is the configuration's number, ``artifact`` what the step
    after the shards makes.
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
    """Whether the store has all that a job generates: as its step, a module, has noted when it was done.

    Args:
        input: the job's, of which ``model`` and ``template`` count.
        serve: JSON, as ``settings``.
        files: of the questions.
    """
    template = Path(input.template) if getattr(input, "template", None) else None
    shard = (int(wildcards.shard), int(wildcards.shards)) if is_shard(wildcards) else (1, 1)
    told = step, recorded_identity(input.model), ServeSettings.from_json(serve), settings, list(map(Path, files))
    return Path(store).is_dir() and Answered.of(Path(store), *told, template, shard).questions() is not None


def is_shard(wildcards: Wildcards) -> bool:
    """Whether a job is one of several shards."""
    return "shard" in wildcards.keys()  # noqa: SIM118  (by `in` alone, Snakemake's wildcards are a list of values)


def output_flags(wildcards: Wildcards, input: Any, output: Any) -> str:
    """Flags that say what a job makes: its shard of the generations, or the files, from the shards if there are any
    (named by the first one's manifest)."""
    if is_shard(wildcards):
        return f"--shard {wildcards.shard}/{wildcards.shards}"
    flags = {"rollouts": "--rollouts"}
    files = [f"{flags.get(name, '--output')} {path}" for name, path in output.items() if name != "manifest"]
    return " ".join([*files, *([f"--gather {input.shards[0]}"] if input.shards else [])])


def identities(*folders: Callable[[Wildcards], str | list[str]]) -> Callable[[Wildcards], list[str]]:
    """Identities of models and tokenizers: files to go by, as the folders are ``ancient``
    (:func:`m1.core.files.replacing_model`)."""

    def files(wildcards: Wildcards) -> list[str]:
        found = [folder(wildcards) for folder in folders]
        return [f"{one}.sha256" for part in found for one in ([part] if isinstance(part, str) else part)]

    return files
