"""The twelve benchmarks of LLaVA 1.5, and how far to trust one answer.

A `Task` (`tasks/`, one file for each benchmark) reads its official files as `Sample`s. The runner
sends them to a backend, many at once, and appends each answer to a file, so that a killed run goes
on where it was. Then the task scores the answers by its official rule, writes the official
submission file, or a judge compares them. The report shows the figures beside the published ones.
"""
