"""The workflow, for a plain `snakemake` in this folder; it is in workflow/Snakefile."""


include: "workflow/Snakefile"


# An include leaves the default target to the file that includes it.
workflow.default_target = "all"
