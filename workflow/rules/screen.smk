"""screen (3.1): two models attempt every question; what either solves is dropped."""


rule screen_attempt:
    input:
        model=ancient("<results>/screen/models/{base}"),
        identity="<results>/screen/models/{base}.sha256",
        questions="<results>/pools/merged.parquet",
        shards=wiring.screen_shards,
    output:
        attempts="<results>/screen/{base}.parquet",
        manifest="<results>/screen/{base}.json",
    log:
        "<logs>/screen_attempt/{base}.log",
    benchmark:
        "<logs>/screen_attempt/{base}.tsv"
    priority: 9
    conda:
        "../../envs/infer.yaml"
    threads: wiring.threads("screen")
    resources:
        **wiring.allocation("screen"),
        batch=wiring.config["screen"]["serve"]["batch"],
        placement=wiring.placement("screen/serve"),
    params:
        code=step("m1.screen.attempt"),
        settings=wiring.settings("screen", only=["prompt", "answer_limit", "rule"]),
        serve=wiring.serve("screen/serve"),
        store=wiring.store("screen-{base}"),
        made=wiring.made,
    shell:
        "python -m {params.code.module} --name {wildcards.base} --model {input.model} --questions {input.questions}"
        " --settings {params.settings:q} --serve {params.serve:q} --batch {resources.batch} --placement {resources.placement:q}"
        " --store {params.store} {params.made} --manifest {output.manifest} 2> {log}"


# One of several jobs that fill the store at once; the rule above then finds all answers there.
use rule screen_attempt as screen_attempt_shard with:
    input:
        model=ancient("<results>/screen/models/{base}"),
        identity="<results>/screen/models/{base}.sha256",
        questions="<results>/pools/merged.parquet",
    output:
        manifest="<results>/screen/shards/{base}/{shard}-of-{shards}.json",
    log:
        "<logs>/screen_attempt_shard/{base}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/screen_attempt_shard/{base}/{shard}-of-{shards}.tsv"


rule screen_ask:
    input:
        questions="<results>/pools/merged.parquet",
        served=lambda wildcards: wiring.served_files(
            wiring.providers[wildcards.provider]
        ),
    output:
        attempts="<results>/screen/{provider}.parquet",
        manifest="<results>/screen/{provider}.json",
    log:
        "<logs>/screen_ask/{provider}.log",
    benchmark:
        "<logs>/screen_ask/{provider}.tsv"
    wildcard_constraints:
        provider=one_of(wiring.providers),
    priority: 9
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.screen.ask"),
        provider=wiring.provider("screen/providers/{provider}"),
        settings=wiring.settings("screen", only=["prompt", "rule"]),
        store=wiring.store("screen-{provider}"),
    shell:
        "python -m {params.code.module} --name {wildcards.provider} --questions {input.questions} --provider {params.provider:q}"
        ' --calls "$M1_SCREEN_CALLS" --settings {params.settings:q} --store {params.store}'
        " --output {output.attempts} --manifest {output.manifest} 2> {log}"


rule screen_hard:
    input:
        questions="<results>/pools/merged.parquet",
        attempts=expand(
            "<results>/screen/{name}.parquet",
            name=[*wiring.config["screen"]["models"], *wiring.providers],
        ),
    output:
        questions="<results>/screen/hard.parquet",
        manifest="<results>/screen/hard.json",
    log:
        "<logs>/screen_hard.log",
    benchmark:
        "<logs>/screen_hard.tsv"
    priority: 9
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.screen.hard"),
        settings=wiring.settings("screen", only=["smallest_class"]),
    shell:
        "python -m {params.code.module} --questions {input.questions} --attempts {input.attempts}"
        " --settings {params.settings:q} --output {output.questions} --manifest {output.manifest} 2> {log}"
