"""Attacks: hostile files, each of which must end in one error, within bounds of memory."""
