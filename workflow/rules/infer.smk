"""infer (3.3, B.3): generate thinking once, and answers at every budget and number of forced continuations;
generate plain and chain-of-thought answers; take published answers."""

from m1.wiring.infer import InferRules
from m1.wiring.jobs import identities, output_flags

infer = InferRules(run)


rule infer_template:
    output:
        folder=directory("<results>/templates/{model}"),
        identity="<results>/templates/{model}.sha256",
    log:
        "<logs>/infer_template/{model}.log",
    benchmark:
        "<logs>/infer_template/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.borrowers),
    localrule: True
    conda:
        "../../envs/infer.yaml"
    params:
        code=step("m1.infer.template"),
        settings=infer.template,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --settings {params.settings:q}"
        " --output {output.folder} 2> {log}"


# Check that all questions fit the model's context, before hours of training. A trained model has no such job any more
# (run.context_checks), so another benchmark or budget repeats no training; the sweep then checks before it generates.
rule infer_context:
    input:
        model=ancient(train.base),
        template=ancient(templates.folder),
        identities=identities(train.base, templates.folder),
        benchmarks=run.benchmarks,
        order=infer.order,
    output:
        "<results>/infer/{model}/context.json",
    log:
        "<logs>/infer_context/{model}.log",
    benchmark:
        "<logs>/infer_context/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.context_checks),
    localrule: True
    conda:
        "../../envs/infer.yaml"
    params:
        code=step("m1.infer.context"),
        settings=infer.context,
        template=templates.flag,
        order=lambda wildcards, input: f"--order {input.order}" if input.order else "",
    shell:
        "python -m {params.code.module} --name {wildcards.model} --model {input.model} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} {params.template} {params.order} --output {output} 2> {log}"


rule infer_sweep:
    input:
        model=ancient(infer.model),
        template=ancient(templates.folder),
        identities=identities(infer.model, templates.folder),
        benchmarks=run.benchmarks,
        order=infer.order,
        shards=infer.shards,
    output:
        rollouts="<results>/infer/{model}/rollouts.parquet",
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_sweep/{model}.log",
    benchmark:
        "<logs>/infer_sweep/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.sweep_models),
    conda:
        "../../envs/infer.yaml"
    threads: infer.jobs.threads
    resources:
        **infer.jobs.allocation(),
        engine=infer.runtime,
    params:
        code=step("m1.infer.sweep"),
        settings=infer.sweep,
        serve=infer.serve,
        store=run.store_word("infer-{model}"),
        template=templates.flag,
        order=lambda wildcards, input: f"--order {input.order}" if input.order else "",
        outputs=output_flags,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --model {input.model} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} --serve {params.serve:q}"
        " --runtime {resources.engine:q} {params.template} {params.order}"
        " --store {params.store} {params.outputs} --manifest {output.manifest} 2> {log}"


# Generate one share of the questions. Several such jobs (`shards`) fill the store at the same time; infer_sweep then
# finds all generations there.
use rule infer_sweep as infer_sweep_shard with:
    output:
        manifest="<results>/infer/{model}/shards/{shard}-of-{shards}.json",
    log:
        "<logs>/infer_sweep_shard/{model}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/infer_sweep_shard/{model}/{shard}-of-{shards}.tsv"


rule infer_answer:
    input:
        model=ancient(infer.model),
        template=ancient(templates.folder),
        identities=identities(infer.model, templates.folder),
        benchmarks=run.benchmarks,
        shards=infer.shards,
    output:
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_answer/{model}.log",
    benchmark:
        "<logs>/infer_answer/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.direct),
    conda:
        "../../envs/infer.yaml"
    threads: infer.jobs.threads
    resources:
        **infer.jobs.allocation(),
        engine=infer.runtime,
    params:
        code=step("m1.infer.answer"),
        settings=infer.answer,
        serve=infer.serve,
        store=run.store_word("infer-{model}"),
        template=templates.flag,
        outputs=output_flags,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --model {input.model} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} --serve {params.serve:q} --runtime {resources.engine:q} {params.template}"
        " --store {params.store} {params.outputs} --manifest {output.manifest} 2> {log}"


use rule infer_answer as infer_answer_shard with:
    output:
        manifest="<results>/infer/{model}/shards/{shard}-of-{shards}.json",
    log:
        "<logs>/infer_answer_shard/{model}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/infer_answer_shard/{model}/{shard}-of-{shards}.tsv"


rule infer_published:
    input:
        files=infer.local_files,
        benchmarks=run.benchmarks,
    output:
        predictions="<results>/infer/{model}/predictions.parquet",
        manifest="<results>/infer/{model}/manifest.json",
    log:
        "<logs>/infer_published/{model}.log",
    benchmark:
        "<logs>/infer_published/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.published["results"]),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.infer.published"),
        settings=infer.published,
    shell:
        "python -m {params.code.module} --name {wildcards.model} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks}"
        " --output {output.predictions} --manifest {output.manifest} 2> {log}"


# The published answers of a model that also runs here (`published.beside`). They stay in a folder of their own, and
# cover only the benchmarks that the authors published.
use rule infer_published as infer_beside with:
    input:
        files=infer.local_files,
        benchmarks=infer.published_benchmarks,
    output:
        predictions="<results>/published/{model}/predictions.parquet",
        manifest="<results>/published/{model}/manifest.json",
    log:
        "<logs>/infer_beside/{model}.log",
    benchmark:
        "<logs>/infer_beside/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.published["beside"]),
    localrule: True
