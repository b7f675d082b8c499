"""The conversation as the model reads it: prompt, tool signatures, tool calls, image handles."""
