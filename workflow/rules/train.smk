"""train (3.2, B.2): fine-tuning with trl, one recipe for each model."""


rule train_fetch:
    input:
        wiring.born,
    output:
        directory("<results>/{kind}/{base}"),
    log:
        "<logs>/train_fetch/{kind}/{base}.log",
    benchmark:
        "<logs>/train_fetch/{kind}/{base}.tsv"
    wildcard_constraints:
        kind="bases|screen/models",
    priority: 10
    conda:
        "../../envs/train.yaml"
    params:
        code=fingerprint("m1.train.fetch"),
        settings=wiring.settings("{kind}/{base}"),
    shell:
        "python -m m1.train.fetch --name {wildcards.kind}.{wildcards.base} --settings {params.settings:q} --output {output} 2> {log}"


rule train_published:
    output:
        directory("<results>/train/{model}"),
    log:
        "<logs>/train_published/{model}.log",
    benchmark:
        "<logs>/train_published/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.enter["checkpoints"]),
    conda:
        "../../envs/train.yaml"
    params:
        code=fingerprint("m1.train.fetch"),
        settings=wiring.checkpoint,
        entry=lambda wildcards: wiring.enter["checkpoints"][wildcards.model],
    shell:
        "python -m m1.train.fetch --name data.{params.entry} --settings {params.settings:q} --output {output} 2> {log}"


rule train_sft:
    input:
        base=wiring.base,
        subset=wiring.training_set,
        template=wiring.template,
    output:
        directory("<results>/train/{model}"),
    log:
        "<logs>/train_sft/{model}.log",
    benchmark:
        "<logs>/train_sft/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.trained),
    conda:
        "../../envs/train.yaml"
    threads: wiring.resource("threads", 1)
    resources:
        mem_mb=wiring.resource("mem_mb", 2000),
        runtime=wiring.resource("runtime", 60),
        placement=wiring.train,
        scratch=wiring.config["scratch"],
    params:
        code=fingerprint("m1.train.sft"),
        settings=wiring.settings("recipes/{model}/sft"),
        template=wiring.template_flag,
    shell:
        "python -m m1.train.launch --name {wildcards.model} --base {input.base} --subset {input.subset}"
        " --settings {params.settings:q} --placement {resources.placement:q} --scratch {resources.scratch:q}"
        " {params.template} --output {output} 2> {log}"
