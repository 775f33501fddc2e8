"""Stage score: extract, match, score (B.3)."""
