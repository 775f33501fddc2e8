"""screen (3.1): let two models attempt every question, and drop what either of them solves."""

from m1.wiring.jobs import output_flags
from m1.wiring.screen import ScreenRules

screen = ScreenRules(run)


rule screen_attempt:
    input:
        model=ancient("<results>/screen/models/{base}"),
        identity="<results>/screen/models/{base}.sha256",
        questions="<results>/pools/merged.parquet",
        shards=screen.shards,
    output:
        answers="<results>/screen/{base}.parquet",
        manifest="<results>/screen/{base}.json",
    log:
        "<logs>/screen_attempt/{base}.log",
    benchmark:
        "<logs>/screen_attempt/{base}.tsv"
    priority: 9
    conda:
        "../../envs/infer.yaml"
    threads: screen.jobs.threads
    resources:
        **screen.jobs.allocation(),
        engine=screen.runtime,
    params:
        code=step("m1.screen.attempt"),
        settings=screen.attempt,
        serve=screen.serve,
        store=run.store_word("screen-{base}"),
        outputs=output_flags,
    shell:
        "python -m {params.code.module} --name {wildcards.base} --model {input.model} --questions {input.questions}"
        " --settings {params.settings:q} --serve {params.serve:q} --runtime {resources.engine:q}"
        " --store {params.store} {params.outputs} --manifest {output.manifest} 2> {log}"


# Answer one share of the questions. Several such jobs (`shards`) fill the store at the same time; screen_attempt then
# finds all answers there.
use rule screen_attempt as screen_attempt_shard with:
    output:
        manifest="<results>/screen/shards/{base}/{shard}-of-{shards}.json",
    log:
        "<logs>/screen_attempt_shard/{base}/{shard}-of-{shards}.log",
    benchmark:
        "<logs>/screen_attempt_shard/{base}/{shard}-of-{shards}.tsv"


rule screen_ask:
    input:
        questions="<results>/pools/merged.parquet",
        served=screen.server_files,
    output:
        answers="<results>/screen/{provider}.parquet",
        manifest="<results>/screen/{provider}.json",
    log:
        "<logs>/screen_ask/{provider}.log",
    benchmark:
        "<logs>/screen_ask/{provider}.tsv"
    wildcard_constraints:
        provider=any_name(run.providers),
    priority: 9
    localrule: True
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.screen.ask"),
        provider=screen.provider,
        settings=screen.ask,
        store=run.store_word("screen-{provider}"),
    shell:
        "python -m {params.code.module} --name {wildcards.provider} --questions {input.questions}"
        " --provider {params.provider:q}"
        ' --calls "$M1_SCREEN_CALLS" --settings {params.settings:q} --store {params.store}'
        " --output {output.answers} --manifest {output.manifest} 2> {log}"


rule screen_hard:
    input:
        questions="<results>/pools/merged.parquet",
        answers=screen.answers,
        published=run.published_counts,
    output:
        questions="<results>/screen/hard.parquet",
        manifest="<results>/screen/hard.json",
    log:
        "<logs>/screen_hard.log",
    benchmark:
        "<logs>/screen_hard.tsv"
    priority: 9
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.screen.hard"),
        settings=screen.hard,
        flags=optional_flags("published"),
    shell:
        "python -m {params.code.module} --questions {input.questions} --answers {input.answers}"
        " --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} {params.flags} 2> {log}"
