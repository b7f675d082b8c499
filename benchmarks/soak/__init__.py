"""Two hours of mixed work: memory, threads, descriptors and KV blocks stay flat, answers the same.

    python -m benchmarks.soak [--minutes 120] [--out DIR] [--seed 0]
    python -m benchmarks.soak --plot DIR/samples.jsonl

Rounds of work in random order go through both adapters, the visual tools, an index of pages, and
two servers in processes of their own, `llava-tools serve` and `llava-tools mcp`; with abandoned
streams, cancelled requests, timeouts, damaged images, hostile PDFs and impossible schemas. Every
answer is compared with the first one of its kind; greedy answers must be the same. Samples are
written each ten seconds and at the end of each round, when everything must be idle again.
"""
