"""Start a training in one process, in several on this machine, or on several nodes of a SLURM job (3.2).

The recipe's ``train`` decides. Several processes are started by torchrun; on several nodes, ``srun`` starts this module
once on each node, and each starts its own torchrun. The file ``config/accelerate/{strategy}.yaml`` says how the
processes share the work (:func:`m1.train.trainer.join`).
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from m1.core import gpus
from m1.core.errors import UserError, run
from m1.core.locks import Holder, Lock
from m1.core.progress import say
from m1.train import checkpoints, curve
from m1.train.settings import TrainRuntime
from m1.train.sft import count_stored as count_stored  # a dry run asks the module that the rule starts
from m1.train.sft import take_stored

TRAINING = "m1.train.sft"


def torchrun(runtime: TrainRuntime, environment: Mapping[str, str]) -> list[str]:
    """The command that starts the processes of this node; for several nodes it needs a SLURM step's ``environment``."""
    # After SIGTERM, saving the state of a large model takes longer than torchrun's default of 30 seconds.
    flags = [f"--nproc-per-node={runtime.processes}", "--shutdown-timeout=600"]
    if runtime.nodes == 1:
        flags += ["--standalone"]
    else:
        job, show = environment["SLURM_JOB_ID"], ["scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"]]
        hosts = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()
        flags += [f"--nnodes={len(hosts)}", f"--node-rank={environment['SLURM_NODEID']}", "--rdzv-backend=c10d"]
        flags += [f"--rdzv-id={job}", f"--rdzv-endpoint={hosts[0]}:{29500 + int(job) % 1000}"]
    return [sys.executable, "-m", "torch.distributed.run", *flags, "-m", TRAINING]


def srun(nodes: int, arguments: Sequence[str]) -> list[str]:
    """The command that starts this module once on every node of the job, with all the job's GPUs and cores there."""
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    step += ["--cpu-bind=none", "--kill-on-bad-exit=1"]
    return [*step, sys.executable, "-m", "m1.train.launch", *arguments]


def start(runtime: TrainRuntime, arguments: Sequence[str]) -> int:
    """Run the training with the arguments of :mod:`m1.train.sft`; returns its exit code, and passes on signals to stop.

    Raises:
        UserError: several nodes are wanted outside of a SLURM job, or torch sees fewer GPUs on this node than the job
            was given.
    """
    # Rows have another length at every step. Expandable segments avoid the gaps in memory that this would leave.
    environment = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", **os.environ}
    if runtime.nodes > 1 and "SLURM_JOB_ID" not in environment:
        needed = f"{runtime.nodes} nodes need a SLURM job"
        raise UserError(f"train.nodes: {needed}; use profiles/slurm, or set train.nodes to 1")
    on_node = "SLURM_STEP_NODELIST" in environment and environment.get("M1_NODE") == "1"
    if runtime.nodes > 1 and not on_node:
        command, environment["M1_NODE"] = srun(runtime.nodes, arguments), "1"
    elif runtime.gpus and (lacking := gpus.lack(runtime.gpus, gpus.look())):
        raise UserError(f"train: {lacking}")
    elif runtime.nodes * runtime.processes > 1:
        command = [*torchrun(runtime, environment), *arguments]
        environment.setdefault("OMP_NUM_THREADS", "1")
    else:
        command = [sys.executable, "-m", TRAINING, *arguments]
    child = subprocess.Popen(command, env=environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    return child.wait()


def wait_for_others(scratch: Path, name: str) -> None:
    """Wait, in a SLURM job, for a training of this model that runs elsewhere; without locks, nothing is waited for.

    If SLURM loses a node, it queues the job again, while the job's first run may go on there.
    """

    def tell(holder: Holder) -> None:
        lost = "perhaps this job's own first run, on a node that SLURM has lost; waiting until it has ended"
        say(f"train {name}", f"{holder} is training in {scratch / 'train' / name} already: {lost}")

    for path in sorted((scratch / "train" / name).glob(f"*/{checkpoints.LOCK}")):
        lock = Lock(path)
        lock.wait(tell)
        lock.release()


def main(argv: Sequence[str] | None = None) -> None:
    """Train, then draw the loss curve beside the model."""
    words = list(sys.argv[1:] if argv is None else argv)
    others = f"All other flags go to {TRAINING}; see its --help."
    parser = argparse.ArgumentParser(description=__doc__, epilog=others, allow_abbrev=False)
    parser.add_argument("--runtime", required=True, type=TrainRuntime.from_json, help="JSON object, the recipe's train")
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--output", required=True, type=Path, help="folder to write the model to")
    parser.add_argument("--scratch", required=True, type=Path, help="folder of checkpoints")
    known = parser.parse_known_args(words)[0]
    on_node = os.environ.get("M1_NODE") == "1"
    if "SLURM_JOB_ID" in os.environ and not on_node:
        wait_for_others(known.scratch, known.name)
    # The store is asked before the cards, since a training that it has needs no GPU.
    if on_node or not take_stored(words):
        code = start(known.runtime, words)
        if code:
            raise SystemExit(code if code > 0 else 128 - code)
        if not on_node and not (known.output / "manifest.json").exists():
            stopped = "it was stopped, though without an error, as `srun` ends where SLURM preempts or cancels its step"
            raise UserError(f"train {known.name}: no model in {known.output}: {stopped}; run it again, and it goes on")
    if not on_node:
        try:
            curve.draw(known.output / "log.jsonl", known.name, known.output / "loss.png")
        except Exception as error:  # a failed picture must not cost the trained model
            say(f"train {known.name}", f"the loss curve could not be drawn: {error}")


if __name__ == "__main__":
    run(main)
