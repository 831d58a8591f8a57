"""Trained weights on disk: written whole or not at all, verified, listed, expiring."""
