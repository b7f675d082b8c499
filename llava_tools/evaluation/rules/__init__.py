"""Rules of scoring that several benchmarks share."""
