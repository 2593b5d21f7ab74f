"""Measures claims and published results, one script each: ``python -m experiments list``."""
