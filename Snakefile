"""Start workflow/Snakefile with a plain `snakemake` in this folder."""


include: "workflow/Snakefile"


# `default_target` of an included file has no effect, so the target is named here.
workflow.default_target = "all"
