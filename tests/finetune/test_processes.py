"""Runs of two processes have the losses and weights of one, with and without split weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_tools.finetune import tune
from tests.finetune.test_main import base, losses, options

__all__ = ["base"]

RUN = """
import sys
from pathlib import Path
from tests.finetune.test_main import options, tune
method, shard = sys.argv[3], sys.argv[4] == "shard"
tune(options(Path(sys.argv[1]), Path(sys.argv[2]), method=method, epochs=4, dropout=0.0,
             batch_size=5, micro_batch_size=2, held_out=0.2, evaluate_every=2, learning_rate=1e-3,
             save_every=2, shard=shard))
"""


def run_two(base: Path, out: Path, method: str, mode: str) -> None:
    script = out.with_suffix(".py")
    script.write_text(RUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, str(script), str(base), str(out), method, mode],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "mode"), [("lora", "shard"), ("full", "plain")])
def test_two_processes_equal_one(base: Path, tmp_path: Path, method: str, mode: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    tune(
        options(
            base,
            one,
            method=method,
            epochs=4,
            dropout=0.0,
            batch_size=5,
            micro_batch_size=2,
            held_out=0.2,
            evaluate_every=2,
            learning_rate=1e-3,
        )
    )
    run_two(base, two, method, mode)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    first, second = (load_file(out / "model.safetensors") for out in (one, two))
    assert all(torch.allclose(weight, second[name], atol=1e-4) for name, weight in first.items())
