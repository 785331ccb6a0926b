"""An error reads as a cause and a remedy, whoever wrote the cause."""

from __future__ import annotations

import pytest

from atlas.schema.errors import ModelUnavailable


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("It is down.", "It is down. Wait."),
        ("it answered 500: mock failure", "it answered 500: mock failure. Wait."),
        ("is it down?", "is it down? Wait."),
    ],
)
def test_cause_and_remedy_are_two_sentences(cause: str, told: str) -> None:
    assert str(ModelUnavailable(cause, "Wait.")) == told
    assert str(ModelUnavailable(cause)) == cause
