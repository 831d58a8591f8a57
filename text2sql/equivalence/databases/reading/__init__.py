"""From the syntax trees of a pair to its plan."""
