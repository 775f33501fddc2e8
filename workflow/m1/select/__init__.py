"""Stage select: label MeSH domains, and choose m23K, m1K and the ablation subsets (3.1, Tables 2-4)."""
