"""score (B.3): extract, match, judge; predictions stay raw."""


rule score_judge:
    input:
        predictions="<results>/infer/{model}/predictions.parquet",
        questions=wiring.benchmarks(),
    output:
        judgements="<results>/score/{model}.parquet",
        manifest="<results>/score/{model}.json",
    log:
        "<logs>/score_judge/{model}.log",
    benchmark:
        "<logs>/score_judge/{model}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.score.predictions"),
        settings=wiring.settings("score"),
    shell:
        "python -m {params.code.module} --predictions {input.predictions} --questions {input.questions} --settings {params.settings:q}"
        " --output {output.judgements} --manifest {output.manifest} 2> {log}"
