"""Stage distill: the teacher thinks and answers, and only traces with a correct answer are kept (3.1, B.1)."""
