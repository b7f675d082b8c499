"""Constrained answers: grammar, incremental parser, stop strings."""
