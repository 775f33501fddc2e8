"""score (B.3): extract, match, score; predictions stay raw."""


rule score_predictions:
    input:
        predictions="<results>/infer/{model}/predictions.parquet",
        questions=wiring.benchmarks(),
    output:
        scores="<results>/score/{model}.parquet",
        manifest="<results>/score/{model}.json",
    log:
        "<logs>/score_predictions/{model}.log",
    benchmark:
        "<logs>/score_predictions/{model}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.score.predictions"),
        settings=wiring.settings("score"),
    shell:
        "python -m {params.code.module} --predictions {input.predictions} --questions {input.questions} --settings {params.settings:q}"
        " --output {output.scores} --manifest {output.manifest} 2> {log}"
