"""The only contact with the internals of transformers' continuous batching."""
