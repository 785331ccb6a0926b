"""Secrets do not pass the write boundary, and ordinary texts pass unchanged."""

from __future__ import annotations

import base64
import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.store.redaction import Redactor, is_secret_name, secret_values

LETTERS = string.ascii_letters + string.digits


def secrets(seed: int) -> dict[str, str]:
    """One made-up secret of each kind, in a text that may stand anywhere."""
    dice = random.Random(seed)

    def letters(n: int) -> str:
        return "".join(dice.choices(LETTERS, k=n - 2)) + "a7"

    capitals = "".join(dice.choices(string.ascii_uppercase + string.digits, k=16))
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{letters(64)}\n{letters(30)}\n-----END RSA PRIVATE KEY-----"
    jwt = f"eyJ{letters(30)}.eyJ{letters(40)}.{letters(43)}"
    return {
        "openai": f"sk-proj-{letters(48)}",
        "anthropic": f"sk-ant-api03-{letters(60)}",
        "aws": f"AKIA{capitals}",
        "github": f"ghp_{letters(36)}",
        "github_new": f"github_pat_{letters(60)}",
        "slack": f"xoxb-{letters(12)}-{letters(24)}",
        "google": f"AIza{letters(35)}",
        "huggingface": f"hf_{letters(34)}",
        "stripe": f"sk_live_{letters(24)}",
        "jwt": jwt,
        "pem": pem,
        "bearer": f"Authorization: Bearer {letters(40)}",
        "basic": "Authorization: Basic " + base64.b64encode(f"me:{letters(12)}".encode()).decode(),
        "url": f"postgresql://me:{letters(14)}@db/atlas",
        "assigned": f"password={letters(10)}",
        "quoted": f'{{"api_key": "{letters(20)}"}}',
        "escaped": f'{{\\"api_key\\": \\"{letters(20)}\\"}}',
        "entropy": f"the token is {letters(40)}",
        "hex": "secret " + f"{dice.getrandbits(200):050x}",
        "card": card(dice),
    }


def card(dice: random.Random) -> str:
    digits = "4" + "".join(dice.choices(string.digits, k=14))
    total = sum(divmod(2 * int(d), 10)[0] + divmod(2 * int(d), 10)[1] for d in digits[::2])
    total += sum(int(d) for d in digits[1::2])
    return f"{digits[:4]} {digits[4:8]} {digits[8:12]} {digits[12:]}{-total % 10}"


def core(kind: str, text: str) -> str:
    """What must be gone of it."""
    ends = {"bearer": " ", "basic": " ", "entropy": " ", "hex": " ", "assigned": "="}
    if kind in ends:
        return text.rsplit(ends[kind], 1)[1]
    if kind in ("quoted", "escaped"):
        return text.split('"')[3].rstrip("\\")
    if kind == "url":
        return text.split(":")[2].split("@")[0]
    return text.split("\n")[1] if kind == "pem" else text


REDACTOR = Redactor({"hunter2-hunter2": "DB_PASSWORD", 'quo"te\\and\nline': "ODD_SECRET", "ümläut-geheim": "U_TOKEN"})


@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_secrets_are_found(seed: int) -> None:
    kept = []
    for kind, text in secrets(seed).items():
        cleaned = REDACTOR.clean(f"Please look at this:\n{text}\nand tell me more.")
        assert "[redacted:" in cleaned, kind
        assert cleaned.startswith("Please look at this:\n")
        assert cleaned.endswith("and tell me more.")
        kept += [kind] if core(kind, text) in cleaned else []
    assert kept == []


@pytest.mark.parametrize(
    "text",
    [
        "psql hunter2-hunter2!",
        'x{"p": "quo\\"te\\\\and\\nline"}',
        "x=%C3%BCml%C3%A4ut-geheim",
        "\\u00fcml\\u00e4ut-geheim",
    ],
)
def test_values_of_the_environment_are_found_in_json_and_urls(text: str) -> None:
    assert "[redacted:" in REDACTOR.clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "The total is 60; invoice 4111 was paid on 2024-01-01, order 1234567890123456.",
        "Tokens: 1,024 of 4,096. Token budget: unlimited. The key: be polite.",
        "0190b7a0-1c2d-7e3f-8a4b-5c6d7e8f9a0b is a session and e3b0c44298fc1c149afbf4c8996fb92427ae41e4",
        "import os\nkey = os.environ['OPENAI_API_KEY']\nfor token in tokens: print(token)",
        "https://example.org/a/b?page=2#part and mailto: me at home",
        "sk-learn is a library; task-force, risk-averse, ask-me-anything",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    assert REDACTOR.clean(text) is text


@pytest.mark.parametrize(
    "text",
    [
        "key: columns InitiatingProcessTokenElevationTypes, ServicePrincipalCredentialThumbprint",
        "the token of session 0190b7a0-1c2d-7e3f-8a4b-5c6d7e8f9a0b is good",
        "the key S-1-5-21-1870156660-7534030218-135086563-1193 in the registry",
    ],
)
def test_names_and_ids_beside_telling_words_stay(text: str) -> None:
    assert REDACTOR.clean(text) == text


def test_personal_data_go_when_asked() -> None:
    text = "Write to ada.lovelace@example.org, account DE89 3704 0044 0532 0130 00."
    assert REDACTOR.clean(text) == text
    cleaned = Redactor({}, personal=True).clean(text)
    assert cleaned == "Write to [redacted:email], account [redacted:iban]."


def test_own_patterns_count() -> None:
    assert Redactor({}, extra=("EMP-[0-9]{6}",)).clean("badge EMP-123456") == "badge [redacted:custom]"


def test_which_variables_are_secret() -> None:
    names = ("OPENAI_API_KEY", "PGPASSWORD", "SLACK_TOKEN", "db_secret", "AUTH", "MY_PASS", "HF_TOKEN", "APIKEY")
    assert all(map(is_secret_name, names))
    others = ("PWD", "OLDPWD", "PATH", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "KEYBOARD", "HOME", "MONKEY")
    assert not any(map(is_secret_name, others))
    assert secret_values({"A_KEY": "short", "B_KEY": "long-enough", "PLAIN": "long-enough-too"}) == {
        "long-enough": "B_KEY"
    }
    assert secret_values({"PLAIN": "long-enough"}, ["PLAIN"]) == {"long-enough": "PLAIN"}


@given(st.text(), st.text())
def test_a_cleaned_text_is_clean_and_the_rest_of_it_stands(before: str, after: str) -> None:
    text = f"{before}\nghp_{'a1B2' * 9}\n{after}"
    cleaned = REDACTOR.clean(text)
    assert "a1B2" * 9 not in cleaned
    assert REDACTOR.clean(cleaned) == cleaned


def test_hostile_texts_take_no_longer() -> None:
    size = 200_000
    for piece in ("eyJ", "key ", 'key"', "sk-", "-----BEGIN", "://a:", "4111 ", "@", "a.", "token=", "Bearer "):
        text = (piece * (size // len(piece) + 1))[:size] + " ghp_" + "x1" * 20
        started = time.process_time()
        assert "[redacted:github-token]" in Redactor({}, personal=True).clean(text)
        assert time.process_time() - started < 2.0, piece


@pytest.mark.parametrize("kind", ["openai", "stripe", "aws", "huggingface", "jwt", "github", "slack"])
def test_a_key_behind_an_escaped_line_break_is_found(kind: str) -> None:
    """As in the arguments of a tool call, which are JSON within JSON."""
    text = secrets(3)[kind]
    assert text not in REDACTOR.clean(f'{{"body": "take this:\\n{text}\\nplease"}}')
