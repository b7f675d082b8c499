"""Requests, chunks and answers, constraints and the backend interface. Knows no model."""
