"""Stage pools: collect, shuffle options, deduplicate, decontaminate (3.1, B.1)."""
