"""What is known of the models that have short names, without loading them."""

#: Limits of the embedded model, shown with its answers.
TINY_NOTICE = (
    "The embedded model knows drawn shapes and a little drawn writing; photographs and real "
    "documents need '7b' or '13b'."
)

#: Context length in tokens, if it is not set, of models that were built for more. It bounds the
#: memory of the KV, which some of them would fill with gigabytes for one request.
DEFAULT_CONTEXT_LENGTH = 8192

#: Context lengths of the known models in tokens.
CONTEXT_LENGTHS = {
    "tiny": 2048,
    "llava-hf/llava-interleave-qwen-0.5b-hf": DEFAULT_CONTEXT_LENGTH,
    "llava-hf/llava-1.5-7b-hf": 4096,
    "llava-hf/llava-1.5-13b-hf": 4096,
}

#: Short names of models.
ALIASES = {
    "tiny": "tiny",
    "0.5b": "llava-hf/llava-interleave-qwen-0.5b-hf",
    "7b": "llava-hf/llava-1.5-7b-hf",
    "13b": "llava-hf/llava-1.5-13b-hf",
}

#: The CLIP whose vision tower LLaVA 1.5 uses; LLaVA's training did not change it.
CLIP = "openai/clip-vit-large-patch14-336"
