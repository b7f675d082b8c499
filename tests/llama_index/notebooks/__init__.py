"""What LlamaIndex's own notebooks do with images, with our adapters and the embedded model."""
