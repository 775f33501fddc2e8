"""train (3.2, B.2): fine-tuning with trl, one recipe for each model."""


rule train_fetch:
    input:
        folder=ancient(wiring.born),
        identity=wiring.identities(wiring.born),
    output:
        folder=directory("<results>/{kind}/{base}"),
        identity="<results>/{kind}/{base}.sha256",
    log:
        "<logs>/train_fetch/{kind}/{base}.log",
    benchmark:
        "<logs>/train_fetch/{kind}/{base}.tsv"
    wildcard_constraints:
        kind="bases|screen/models",
        base=one_of([*wiring.config["bases"], *wiring.config["screen"]["models"]]),
    priority: 10
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.train.fetch"),
        settings=wiring.settings("{kind}/{base}"),
    shell:
        "python -m {params.code.module} --name {wildcards.kind}.{wildcards.base} --settings {params.settings:q} --output {output.folder} 2> {log}"


rule train_published:
    output:
        folder=directory("<results>/train/{model}"),
        identity="<results>/train/{model}.sha256",
    log:
        "<logs>/train_published/{model}.log",
    benchmark:
        "<logs>/train_published/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.enter["checkpoints"]),
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.train.fetch"),
        settings=wiring.checkpoint,
        entry=lambda wildcards: wiring.enter["checkpoints"][wildcards.model],
    shell:
        "python -m {params.code.module} --name data.{params.entry} --settings {params.settings:q} --output {output.folder} 2> {log}"


rule train_sft:
    input:
        base=ancient(wiring.base),
        subset=wiring.training_set,
        template=ancient(wiring.template),
        identities=wiring.identities(wiring.base, wiring.template),
    output:
        folder=directory("<results>/train/{model}"),
        identity="<results>/train/{model}.sha256",
    log:
        "<logs>/train_sft/{model}.log",
    benchmark:
        "<logs>/train_sft/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.trained),
    conda:
        "../../envs/train.yaml"
    threads: wiring.threads("train")
    resources:
        **wiring.allocation("train"),
        placement=wiring.train,
        scratch=wiring.config["scratch"],
        store=wiring.config["store"],
    params:
        code=step("m1.train.sft", started_by="m1.train.launch"),
        settings=wiring.settings("recipes/{model}/sft"),
        template=wiring.template_flag,
    # exec: a shell between would die of SLURM's SIGTERM at once, and the training with it before it has kept its state.
    shell:
        "exec python -m {params.code.module} --name {wildcards.model} --base {input.base} --subset {input.subset}"
        " --settings {params.settings:q} --placement {resources.placement:q} --scratch {resources.scratch:q} --store {resources.store:q}"
        " {params.template} --output {output.folder} 2> {log}"
