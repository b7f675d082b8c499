"""`llava-tools bench`: how fast contenders answer questions about images.

A contender is a backend (contenders.py) or plain transformers (generate.py). All run the same
workload in turns (workload.py). report.py prints the medians as a table, a plot and a JSON object;
bandwidth.py adds how much of the memory's bandwidth decoding uses. Only that one and generate.py
import torch, and the command imports them on demand.
"""
