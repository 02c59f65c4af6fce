"""How good is a classifier, by labels that came later, or before they come: one statistic a file, numpy only."""
