"""`llava-tools bench`: how fast contenders answer questions about images.

A contender is a backend (contenders.py) or plain transformers (generate.py). All run the same
workload in turns (workload.py). report.py prints the medians as a table, a plot and a JSON object.
Only generate.py imports torch, and the command imports it on demand.
"""
