"""Measurements. Each states its hardware and prints one JSON line last."""
