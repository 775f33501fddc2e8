"""Stage score: extract answers, match them to options, and score them (B.3)."""
