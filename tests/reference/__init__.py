"""Slow twins of the fast algorithms, written from the papers, and small inputs to compare them on."""
