"""Requests, answers, constraints and the backend interface; independent of any model."""
