"""The benchmarks, one module each; `catalog` lists them."""
