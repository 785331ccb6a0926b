"""`.env` files fill the environment and never overrule it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.config import load_dotenv, parse_dotenv
from atlas.schema.errors import ConfigError


def test_the_usual_forms() -> None:
    text = """\
# a comment
PLAIN=value # trailing
export EXPORTED = spaced out
SINGLE='as $it \\n is'
DOUBLE="line\\nnext \\"quoted\\""  # after
EMPTY=
HASH=a#b
"""
    assert parse_dotenv(text) == {
        "PLAIN": "value",
        "EXPORTED": "spaced out",
        "SINGLE": "as $it \\n is",
        "DOUBLE": 'line\nnext "quoted"',
        "EMPTY": "",
        "HASH": "a#b",
    }


@pytest.mark.parametrize("line", ["no equals sign", "1X=2", "X='open", 'X="open', "X=a\0b"])
def test_a_bad_line_is_named_and_its_text_is_not(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dotenv(f"A=1\n{line}")
    assert caught.value.message == ".env:2: not a KEY=VALUE line."


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=file\nB=file\n")
    environ = {"A": "shell"}
    assert load_dotenv(file, environ=environ) == ("B",)
    assert environ == {"A": "shell", "B": "file"}
    assert load_dotenv(tmp_path / "missing", environ=environ) == ()


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_dotenv(file, environ={})


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_dotenv(text)
    except ConfigError:
        return
    assert all(name.isidentifier() for name in found)
