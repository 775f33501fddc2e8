"""Stage infer: thinking once, answers at every budget, forced thinking (3.3, B.3)."""
