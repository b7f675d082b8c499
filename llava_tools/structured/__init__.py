"""Constrained text: grammars, incremental parsing of answers, stop strings."""
