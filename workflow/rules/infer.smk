"""infer (3.3, B.3): thinking once, answers at every budget and forced count; plain and +CoT answers."""


rule infer_template:
    output:
        folder=directory("<results>/templates/{model}"),
        identity="<results>/templates/{model}.sha256",
    log:
        "<logs>/infer_template/{model}.log",
    benchmark:
        "<logs>/infer_template/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.borrowing),
    conda:
        "../../envs/infer.yaml"
    params:
        code=step("m1.infer.template"),
        settings=wiring.settings("recipes/{model}/tokenizer"),
    shell:
        "python -m {params.code.module} --name {wildcards.model} --settings {params.settings:q} --output {output.folder} 2> {log}"


rule infer_sweep:
    input:
        model=ancient(wiring.model),
        template=ancient(wiring.template),
        identities=wiring.identities(wiring.model, wiring.template),
        benchmarks=wiring.benchmarks(),
        shards=wiring.infer_shards,
    output:
        rollouts="<results>/infer/{model}/rollouts.parquet",
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_sweep/{model}.log",
    benchmark:
        "<logs>/infer_sweep/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.swept),
    conda:
        "../../envs/infer.yaml"
    threads: wiring.threads("infer")
    resources:
        **wiring.allocation("infer"),
        batch=wiring.batch,
        placement=wiring.placement("recipes/{model}/serve"),
    params:
        code=step("m1.infer.sweep"),
        settings=wiring.settings("recipes/{model}/thinking"),
        serve=wiring.serve("recipes/{model}/serve"),
        store=wiring.store("infer-{model}"),
        template=wiring.template_flag,
        made=wiring.made,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --model {input.model} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} --serve {params.serve:q} --batch {resources.batch} --placement {resources.placement:q} {params.template}"
        " --store {params.store} {params.made} --manifest {output.manifest} 2> {log}"


# One of several jobs that fill the store at once; the rule above then finds all generations there.
use rule infer_sweep as infer_sweep_shard with:
    input:
        model=ancient(wiring.model),
        template=ancient(wiring.template),
        identities=wiring.identities(wiring.model, wiring.template),
        benchmarks=wiring.benchmarks(),
    output:
        manifest="<results>/infer/{model}/shards/{shard}-of-{shards}.json",
    log:
        "<logs>/infer_sweep_shard/{model}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/infer_sweep_shard/{model}/{shard}-of-{shards}.tsv"


rule infer_answer:
    input:
        model=ancient(wiring.model),
        template=ancient(wiring.template),
        identities=wiring.identities(wiring.model, wiring.template),
        benchmarks=wiring.benchmarks(),
        shards=wiring.infer_shards,
    output:
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_answer/{model}.log",
    benchmark:
        "<logs>/infer_answer/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.at_once),
    conda:
        "../../envs/infer.yaml"
    threads: wiring.threads("infer")
    resources:
        **wiring.allocation("infer"),
        batch=wiring.batch,
        placement=wiring.placement("recipes/{model}/serve"),
    params:
        code=step("m1.infer.answer"),
        settings=wiring.settings(
            "recipes/{model}",
            only=["prompt", "answer_limit"],
            answer_limit=wiring.config["answer_limit"],
        ),
        serve=wiring.serve("recipes/{model}/serve"),
        store=wiring.store("infer-{model}"),
        template=wiring.template_flag,
        made=wiring.made,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --model {input.model} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} --serve {params.serve:q} --batch {resources.batch} --placement {resources.placement:q} {params.template}"
        " --store {params.store} {params.made} --manifest {output.manifest} 2> {log}"


use rule infer_answer as infer_answer_shard with:
    input:
        model=ancient(wiring.model),
        template=ancient(wiring.template),
        identities=wiring.identities(wiring.model, wiring.template),
        benchmarks=wiring.benchmarks(),
    output:
        manifest="<results>/infer/{model}/shards/{shard}-of-{shards}.json",
    log:
        "<logs>/infer_answer_shard/{model}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/infer_answer_shard/{model}/{shard}-of-{shards}.tsv"


rule infer_published:
    input:
        files=wiring.published_files,
        benchmarks=wiring.benchmarks(),
    output:
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_published/{model}.log",
    benchmark:
        "<logs>/infer_published/{model}.tsv"
    wildcard_constraints:
        model=one_of(wiring.enter["results"]),
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.infer.published"),
        settings=wiring.published_results,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --settings {params.settings:q} --benchmarks {input.benchmarks}"
        " --output {output.predictions} --manifest {output.manifest} 2> {log}"
