"""Reads the syntax trees of a pair into a plan: what its rows must satisfy, and what is computed from them."""
