"""distill (3.1, B.1): the teacher thinks and answers; only correct answers are kept."""


rule distill_draw:
    input:
        questions="<results>/pools/merged.parquet",
        like=wiring.drawn_like,
    output:
        "<results>/distill/{set}.questions.parquet",
    log:
        "<logs>/distill_draw/{set}.log",
    benchmark:
        "<logs>/distill_draw/{set}.tsv"
    wildcard_constraints:
        set=one_of(wiring.drawn),
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.distill.draw"),
        size=lambda wildcards, input: (
            f"--like {input.like}"
            if input.like
            else f"--size {wiring.config['distill'][wildcards.set]['size']}"
        ),
        share=lambda wildcards: wiring.config["distill"][wildcards.set]["share"],
        seed=wiring.config["seed"],
    shell:
        "python -m {params.code.module} --questions {input.questions} {params.size} --share {params.share} --seed {params.seed}"
        " --output {output} 2> {log}"


rule distill_traces:
    input:
        questions=wiring.asked,
        served=wiring.served_files(wiring.config["teacher"]),
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
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.distill.traces"),
        teacher=wiring.provider("teacher"),
        store=wiring.store("teacher"),
    shell:
        'python -m {params.code.module} --questions {input.questions} --teacher {params.teacher:q} --calls "$M1_TEACHER_CALLS" --store {params.store}'
        " --output {output.traces} --dropped {output.dropped} --differing {output.differing} --manifest {output.manifest} 2> {log}"
