"""Our tokenizer and the `tokenizers` package read the shipped file alike; any text survives the way there and back."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.models.local import POCKET
from atlas.models.rendering import ChatTemplate
from atlas.models.tokenizer import GUARD, Tokenizer
from atlas.schema import Message
from atlas.schema.errors import ConfigError

FOLDER = Path(str(files("atlas.models").joinpath("pocket", POCKET[0])))
OURS = Tokenizer.load(FOLDER / "tokenizer.json")
TEMPLATE = ChatTemplate.load(FOLDER / "tokenizer_config.json", shield=OURS.shield)
CONTROL = ("<|end|>", "<|system|>", "<|tools|>", "<|user|>", "<|assistant|>", "<|tool|>", "<tool_call>", "</tool_call>")

words = st.sampled_from(["refund", " order", "417", '{"name": "', "  ", "\n", "é", "<|", "|>", "Done, id ", *CONTROL])
texts = st.one_of(st.text(), st.lists(st.one_of(words, st.text(max_size=4))).map("".join))


@given(texts)
def test_any_text_comes_back(text: str) -> None:
    assert OURS.decode(OURS.encode(text)) == text
    assert OURS.decode(OURS.encode(text, added=False)) == text


@given(texts)
@settings(max_examples=400)
def test_the_tokenizers_package_gives_the_same_ids(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the reference tokenizer is not installed")
    theirs = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    assert OURS.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@given(st.lists(st.one_of(words, st.just(GUARD), st.text(max_size=3))).map("".join))
def test_user_text_never_becomes_a_control_token(text: str) -> None:
    ids = OURS.encode_chat(TEMPLATE.render([Message(role="user", content=text)]))
    control = [OURS.id_of("<|user|>"), OURS.id_of("<|end|>"), OURS.id_of("<|assistant|>")]
    assert [ids[0], *ids[-2:]] == control
    assert ids[1:-2] == OURS.encode(text, added=False)


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert OURS.decode(OURS.encode("a\ud800b\x00")) == "a\ufffdb\x00"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        Tokenizer.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"model": {"type": "Unigram"}}'])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(damage)
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


def test_another_kind_of_tokenizer_is_refused(tmp_path: Path) -> None:
    data = json.loads((FOLDER / "tokenizer.json").read_text())
    data["normalizer"] = {"type": "NFKC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="kind of tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")
