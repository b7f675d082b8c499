"""MMBench-CN: MMBench in Chinese."""

from __future__ import annotations

from llava_tools.evaluation.task import Source
from llava_tools.evaluation.tasks.mmbench import MMBench


class MMBenchCN(MMBench):
    """MMBench's development split, Chinese."""

    name = "mmbench_cn"
    title = "MMBench-CN"
    folder = "mmbench_cn"
    published = (58.3, 63.6)
    table = "mmbench_dev_cn_20231003.tsv"
    request = "请直接回答选项字母。"
    source = Source(
        url="https://download.openmmlab.com/mmclassification/datasets/mmbench/"
        "mmbench_dev_cn_20231003.tsv, https://github.com/open-compass/MMBench",
        size="see the page",
        licence="Apache-2.0, that of the repository; images: see there",
        files={"mmbench_dev_cn_20231003.tsv": "questions and images"},
    )
