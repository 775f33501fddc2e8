"""Stage train: supervised fine-tuning on thinking and answer (3.2, B.2)."""
