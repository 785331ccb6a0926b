"""The form of the pocket checkpoints: their control tokens, chat template and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

PATTERN = r" ?[A-Za-z]+ ?|[0-9]|(?: ?[^A-Za-z0-9 ])+ ?| +"
"""Words with the spaces around them, single digits, runs of punctuation, spaces.

A word keeps the space after it, so that `order 417` begins with the same token in a sentence and in JSON: what a small
model must copy, it finds again.
"""

END = "<|end|>"
SPECIAL = (END, "<|system|>", "<|tools|>", "<|user|>", "<|assistant|>", "<|tool|>")
CALL = ("<tool_call>", "</tool_call>")

CHAT_TEMPLATE = (
    "{%- if tools -%}<|tools|>"
    "{%- for tool in tools -%}"
    "{{- tool.function.name + '(' + tool.function.parameters.properties | join(', ') + ')' -}}"
    "{%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|end|>' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|' + message.role + '|>' + (message.content or '') -}}"
    "{%- for call in message.tool_calls or [] -%}"
    '{{- \'<tool_call>{"name": "\' + call.function.name + \'", "arguments": \' -}}'
    "{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson -}}"
    "{{- '}</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], size: int, folder: Path) -> None:
    """Learn byte-level BPE merges from texts and write `tokenizer.json` and `tokenizer_config.json`."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in CALL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": list(SPECIAL[1:]),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
