"""train (3.2, B.2): fetch the base models, and fine-tune each model with trl by its recipe."""

from m1.wiring.jobs import identities
from m1.wiring.train import Templates, TrainRules

train = TrainRules(run)
templates = Templates(run)


rule train_fetch:
    input:
        folder=ancient(train.world_model),
        identity=identities(train.world_model),
    output:
        folder=directory("<results>/{kind}/{base}"),
        identity="<results>/{kind}/{base}.sha256",
    log:
        "<logs>/train_fetch/{kind}/{base}.log",
    benchmark:
        "<logs>/train_fetch/{kind}/{base}.tsv"
    wildcard_constraints:
        kind="bases|screen/models",
        base=any_name([*run.config["bases"], *run.config["screen"]["models"]]),
    # Downloads wait on the network: when several jobs are ready, start them first.
    priority: 10
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.train.fetch"),
        settings=train.fetch,
    shell:
        "python -m {params.code.module} --name {wildcards.kind}.{wildcards.base} --settings {params.settings:q}"
        " --output {output.folder} 2> {log}"


rule train_published:
    input:
        train.published,
    output:
        folder=directory("<results>/train/{model}"),
        identity="<results>/train/{model}.sha256",
    log:
        "<logs>/train_published/{model}.log",
    benchmark:
        "<logs>/train_published/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.published["checkpoints"]),
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.train.fetch"),
        settings=train.checkpoint,
        entry=train.entry,
    shell:
        "python -m {params.code.module} --name data.{params.entry} --settings {params.settings:q}"
        " --output {output.folder} 2> {log}"


rule train_sft:
    input:
        base=ancient(train.base),
        subset=train.subset,
        template=ancient(templates.folder),
        identities=identities(train.base, templates.folder),
        context=train.context,
    output:
        folder=directory("<results>/train/{model}"),
        identity="<results>/train/{model}.sha256",
    log:
        "<logs>/train_sft/{model}.log",
    benchmark:
        "<logs>/train_sft/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.trained_here),
    conda:
        "../../envs/train.yaml"
    threads: train.jobs.threads
    resources:
        **train.jobs.allocation(),
        training=train.runtime,
        scratch=run.config["scratch"],
        store=run.config["store"],
    params:
        code=step("m1.train.sft", started_by="m1.train.launch"),
        settings=train.sft,
        template=templates.flag,
    # exec replaces the shell by Python. A shell in between would die of SLURM's SIGTERM at once, and the training with
    # it, before the training has written a checkpoint.
    shell:
        "exec python -m {params.code.module} --name {wildcards.model} --base {input.base} --subset {input.subset}"
        " --settings {params.settings:q} --runtime {resources.training:q} --scratch {resources.scratch:q}"
        " --store {resources.store:q}"
        " {params.template} --output {output.folder} 2> {log}"
