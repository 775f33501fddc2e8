"""distill (3.1, B.1): let the teacher think and answer, and keep only what it answers correctly."""

from m1.wiring.distill import DistillRules

distill = DistillRules(run)


rule distill_draw:
    input:
        questions=run.collection,
        leaks="<results>/pools/leaks.parquet",
        like=distill.like,
        published=run.published_counts,
    output:
        questions="<results>/distill/{set}.questions.parquet",
        manifest="<results>/distill/{set}.questions.json",
    log:
        "<logs>/distill_draw/{set}.log",
    benchmark:
        "<logs>/distill_draw/{set}.tsv"
    wildcard_constraints:
        set=any_name(run.random_sets),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.distill.draw"),
        settings=distill.draw,
        flags=optional_flags("like", "published"),
    shell:
        "python -m {params.code.module} --questions {input.questions} --leaks {input.leaks}"
        " --settings {params.settings:q} {params.flags}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


rule distill_traces:
    input:
        questions=distill.questions,
        served=distill.server_files,
        published=run.published_counts,
    output:
        traces="<results>/distill/{set}.parquet",
        dropped="<results>/distill/{set}.dropped.parquet",
        differing="<results>/distill/{set}.differing.csv",
        manifest="<results>/distill/{set}.json",
    log:
        "<logs>/distill_traces/{set}.log",
    benchmark:
        "<logs>/distill_traces/{set}.tsv"
    priority: 9
    localrule: True
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.distill.traces"),
        teacher=distill.teacher,
        store=run.store_word("teacher"),
        flags=optional_flags("published"),
    shell:
        "python -m {params.code.module} --questions {input.questions} --teacher {params.teacher:q}"
        ' --calls "$M1_TEACHER_CALLS" --store {params.store}'
        " --output {output.traces} --dropped {output.dropped} --differing {output.differing}"
        " --manifest {output.manifest} {params.flags} 2> {log}"
