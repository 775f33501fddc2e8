"""Stage screen: two models attempt every question, and questions that either solves are dropped (3.1)."""
