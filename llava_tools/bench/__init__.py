"""`llava-tools bench`: how fast questions about images are answered, by whom.

Contenders (peers.py: backends behind the backend interface; generate.py: plain transformers) are given one
workload in turns (workload.py); report.py makes a table, a plot and a JSON object of what was
measured. Only generate.py imports torch, when somebody asks for it.
"""

from __future__ import annotations

from llava_tools.bench.peers import Behind, Contender, Run
from llava_tools.bench.workload import Figures, Plan, measure

__all__ = ["Behind", "Contender", "Figures", "Plan", "Run", "measure"]
