"""Proofs of equivalence by an SMT solver, inside a bound: an optional extra, imported where it is asked for."""
