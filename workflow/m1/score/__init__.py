"""Stage score: extract, match, judge (B.3)."""
