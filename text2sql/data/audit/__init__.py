"""Are the gold queries right? Smells of each, ranked, with what to look at, and a file of decisions."""
