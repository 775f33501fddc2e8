"""Stage report: tables, figures, the comparison with the paper, and the page to read it all (4, A)."""
