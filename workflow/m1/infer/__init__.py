"""Stage infer: think once, answer at every budget, and force the thinking on (3.3, B.3)."""
