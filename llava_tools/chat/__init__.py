"""What a model reads: the prompt, tool calls as text, signatures of tools, image handles."""
