"""SmolLM2-135M-Instruct, a real language model, as the text model of a LLaVA under the engine."""
