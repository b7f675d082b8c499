"""Kernels that exist for CPUs only."""
