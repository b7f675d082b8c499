"""What LangChain's own notebooks do with images, with `langchain_llava` and the embedded model."""
