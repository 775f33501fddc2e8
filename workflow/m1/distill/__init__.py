"""Stage distill: the teacher thinks and answers; only correct answers are kept (3.1, B.1)."""
