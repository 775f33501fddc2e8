"""Stage screen: two models attempt every question; what either solves is dropped (3.1, difficulty filtering)."""
