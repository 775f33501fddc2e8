"""Stage pools: collect questions, shuffle their options, deduplicate and decontaminate them (3.1, B.1)."""
