"""Chat templates that write what those of the checkpoints on the hub do."""

from __future__ import annotations

_PARTS = (
    "{%- for part in message.content if part.type == 'image' %}IMAGE{% endfor -%}"
    "{%- for part in message.content if part.type == 'text' %}TEXT{% endfor -%}"
)
#: llava-1.5-hf: no system sentence, a space after every text, and no end of a turn.
HF_15 = (
    "{%- for message in messages -%}"
    "{% if message.role != 'system' %}{{ message.role | upper + ': ' }}{% endif %}"
    + _PARTS.replace("IMAGE", "{{ '<image>\\n' }}").replace("TEXT", "{{ part.text + ' ' }}")
    + "{%- endfor -%}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
#: llava-interleave: a line break before every text, also without an image; no system sentence.
INTERLEAVE = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\\n' }}"
    + _PARTS.replace("IMAGE", "{{ '<image>' }}").replace("TEXT", "{{ '\\n' + part.text }}")
    + "{{ '<|im_end|>\\n' }}{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: bakLlava-v1-hf: that of Mistral-Instruct, with which the model was not trained.
BAKLLAVA = (
    "{%- for message in messages -%}{% if message.role == 'user' %}{{ '[INST] ' }}"
    + _PARTS.replace("IMAGE", "{{ '<image>\\n' }}").replace("TEXT", "{{ part.text }}")
    + "{{ ' [/INST]' }}{% else %}{{ ' ' + message.content[0].text + '<\\\\s> ' }}{% endif %}"
    "{%- endfor -%}"
)
LLAMA3 = (
    "{%- for message in messages -%}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{{ message.content | trim + '<|eot_id|>' }}{%- endfor -%}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
PHI3 = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}"
    "{% if message.role == 'user' %}{{ '<|assistant|>\\n' }}{% endif %}{%- endfor -%}"
)
_CHATML_TURNS = (
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor -%}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SMOLLM2 = (
    "{%- for message in messages -%}{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS
)
#: JoyCaption: Llama 3.1's system turn, and an image in the user's first turn.
JOYCAPTION = (
    "{{ bos_token }}{% set parts = namespace(first=true) %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n"
    "Today Date: 26 July 2024\\n\\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}{{ '<|eot_id|>' }}"
    "{%- for message in messages -%}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{% if parts.first and message.role == 'user' %}{% set parts.first = false %}"
    "{{ '<|reserved_special_token_70|><|reserved_special_token_69|><|reserved_special_token_71|>'"
    " + message.content | replace('<|reserved_special_token_69|>', '') | trim }}"
    "{% else %}{{ message.content }}{% endif %}{{ '<|eot_id|>' }}{%- endfor -%}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
