"""Train the pocket student and teacher, and write them as package data. Needs torch and tokenizers.

python scripts/train_pocket.py tokenizer
python scripts/train_pocket.py student
python scripts/train_pocket.py teacher
python scripts/train_pocket.py measure
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
FOLDER = HERE.parent / "src" / "atlas" / "models" / "pocket"
NAMES = {"student": "pocket-student", "teacher": "pocket-teacher"}
VOCABULARY = 1200


def make_tokenizer(folder: Path) -> None:
    """Learn one tokenizer for both models from both corpora."""
    from atlas.models.rendering import ChatTemplate
    from pocket.form import CALL, CHAT_TEMPLATE, SPECIAL, train_tokenizer
    from pocket.student import StudentCorpus
    from pocket.teacher import TeacherCorpus

    template = ChatTemplate(CHAT_TEMPLATE)
    texts: list[str] = []
    for corpus in (StudentCorpus(99), TeacherCorpus(99)):
        for share, draw in corpus.buckets().values():
            for _ in range(int(4000 * share)):
                sample = draw(corpus.tools())
                texts.append(template.render(sample.messages, sample.tools, ask=False))
    for token in (*SPECIAL, *CALL):
        texts = [text.replace(token, "\n\n\n\n") for text in texts]
    pieces = [piece for text in texts for piece in text.split("\n\n\n\n") if piece]
    for name in NAMES.values():
        train_tokenizer(pieces, VOCABULARY, folder / name)


def model_config(vocabulary: int) -> dict[str, object]:
    """The fields of a Llama `config.json`."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "torch_dtype": "float16",
    }


def save(model: Any, config: dict[str, object], target: Path) -> None:
    """Write weights in half precision and the configuration files."""
    from safetensors.torch import save_file

    from atlas.train.network import hf_names

    weights = {key: value.half().contiguous() for key, value in hf_names(model).items()}
    save_file(weights, str(target / "model.safetensors"), metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    generation = {
        "eos_token_id": 0,
        "pad_token_id": 0,
        "do_sample": False,
        "max_new_tokens": 256,
    }
    (target / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")


def train_one(name: str, folder: Path, steps: int, seed: int) -> None:
    """Train one model and write its folder."""
    import torch

    from atlas.models.rendering import ChatTemplate
    from atlas.models.tokenizer import Tokenizer
    from atlas.train.network import Llama
    from pocket.student import StudentCorpus
    from pocket.teacher import TeacherCorpus
    from pocket.train import Recipe, train

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    target = folder / NAMES[name]
    tokenizer = Tokenizer.load(target / "tokenizer.json")
    template = ChatTemplate.load(target / "tokenizer_config.json", shield=tokenizer.shield)
    config = model_config(len(tokenizer))
    model = Llama(config)
    print(
        f"{name}: {sum(w.numel() for w in model.parameters())} parameters, {len(tokenizer)} tokens",
        flush=True,
    )
    corpus = StudentCorpus(seed) if name == "student" else TeacherCorpus(seed)

    def say(line: str) -> None:
        print(line, flush=True)
        save(model, config, target)

    train(model, corpus, (tokenizer, template), Recipe(steps=steps, seed=seed), say)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("tokenizer", *NAMES, "measure"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=400, help="how many to measure on")
    parser.add_argument("--temperature", type=float, default=0.0, help="of both models while measuring")
    given = parser.parse_args()
    if given.what == "tokenizer":
        make_tokenizer(given.folder)
    elif given.what == "measure":
        from pocket import measure

        measure.main(given.folder, given.seed, given.tasks, given.temperature)
    else:
        train_one(given.what, given.folder, given.steps, given.seed)


if __name__ == "__main__":
    main()
