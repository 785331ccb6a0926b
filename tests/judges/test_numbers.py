"""The grader reads numbers as models write them, and never hangs or raises."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.judges.numbers import Number, final_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,200", 1200),
        ("1,200.50", Fraction(2401, 2)),
        ("$42", 42),
        ("-$5", -5),
        ("$-5", -5),
        (r"\$18", 18),
        ("\u22127", -7),
        ("x=-5", -5),
        (".5", Fraction(1, 2)),
        ("The answer is 42.", 42),
        ("12 km", 12),
        ("an area of 12 cm^2", 12),
        ("1.5e3", 1500),
        (r"3\times 10^{8}", 300_000_000),
        ("3 x 10^2", 300),
        ("3/4", Fraction(3, 4)),
        ("1 3/4", Fraction(7, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"1\frac12", Fraction(3, 2)),
        (r"\boxed{7}, which is more than 3", 7),
        (r"\boxed{\frac{3}{4}}", Fraction(3, 4)),
        (r"\boxed{\text{$1{,}200$ km}}", 1200),
        (r"\boxed{\boxed{5}}", 5),
        (r"\boxed{5 \text{ cm}^2}", 5),
        (r"\boxed{x_1 = 5}", 5),
        (r"\boxed{1\,234}", 1234),
        ("unclosed \\boxed{7", 7),
        ("2 and 3 make 5\n#### 1,234\nas 9 said", 1234),
        ("1\u202f200\u202f000", 1_200_000),
        ("I have 3 100 dollar bills", 100),
        ("first 3, then 4", 4),
        ("between 10-40", 40),
    ],
)
def test_it_reads(text: str, value: Fraction | int) -> None:
    found = final_number(text)
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize("text", ["", "none", "m2", "CO2", "0/0", "1e9999", "\u00b2", r"\boxed{}", "####", "v1.2.3"])
def test_it_finds_none(text: str) -> None:
    assert final_number(text) is None


def test_large_integers_are_compared_exactly() -> None:
    one, two = final_number("12345678901234567890"), final_number("12345678901234567891")
    assert one is not None
    assert two is not None
    assert not one.equals(two, 1e-6)
    assert one.equals(two, 1.0)


@pytest.mark.parametrize(
    ("one", "two", "same"), [("50%", "50", True), ("50 %", "0.5", True), ("50%", "0.5%", False), ("5", "50%", False)]
)
def test_a_percent_sign_on_one_side_may_mean_either(one: str, two: str, same: bool) -> None:
    left, right = final_number(one), final_number(two)
    assert left is not None
    assert right is not None
    assert left.equals(right, 1e-6) is same
    assert right.equals(left, 1e-6) is same


@given(st.text(alphabet="0123456789.,-+$%/\\{}^_ eE#boxedfrac\u00a0\u2212xX("))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = final_number(text)
    assert found is None or isinstance(found, Number)


@given(st.integers(-(10**15), 10**15))
def test_grouped_integers_read_back(value: int) -> None:
    for text in (f"{value:,}", f"so \\boxed{{{value}}}.", f"#### {value:,} apples", f"it is ${value:,}"):
        found = final_number(text)
        assert found is not None
        assert found.value == value


@pytest.mark.parametrize("piece", ["1", "1,111,", "1 ", "-", r"\frac{", "1/", "$ ", "a^", r"\boxed{", " ", "####"])
def test_a_hostile_answer_costs_little(piece: str) -> None:
    final_number(piece * 200_000)
