"""Parameters are read out of a script's arguments as far as their spelling tells."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger.arguments import LONGEST_NAME, LONGEST_VALUE, MOST, number, parameters


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--alpha", "0.1"], {"alpha": "0.1"}),
        (["--alpha=0.1"], {"alpha": "0.1"}),
        (["--alpha=a=b"], {"alpha": "a=b"}),
        (["--alpha="], {"alpha": ""}),
        (["-n", "3", "-lr", "1e-3"], {"n": "3", "lr": "1e-3"}),
        (["--fast"], {"fast": "true"}),
        (["--fast", "--slow", "x"], {"fast": "true", "slow": "x"}),
        (["--alpha", "-0.5", "--beta", "-x", "1"], {"alpha": "-0.5", "beta": "true", "x": "1"}),
        (["--file", "-"], {"file": "-"}),
        (["--no-cache", "--val-loss", "1"], {"no-cache": "true", "val-loss": "1"}),
        (["model.depth=4", "+db/host=x", "++a=1"], {"model.depth": "4", "db/host": "x", "a": "1"}),
        (["-m", "lr=1,2", "--set", "a=b", "--url", "http://x?y=z"],
         {"m": "true", "lr": "1,2", "set": "true", "a": "b", "url": "http://x?y=z"}),
        (["~gone", "~gone=1"], {}),
        (["data.csv", "7", "-5", "--1=2"], {}),
        (["--a", "1", "--a", "2"], {"a": "2"}),
        (["--a", "1", "2", "3", "--b", "4"], {"a": "1", "b": "4"}),
        (["--a", "1", "--", "--b", "2", "c=3"], {"a": "1"}),
        (["http://x?y=z", "=x", "--=x", "-", "--"], {}),
        (["--alpha", 0.1, 7, "--n", 3, None, ["--x"], {"y": 1}], {"alpha": "0.1", "n": "3"}),
        (["--a=x\ny", "b=x\ny"], {"a": "x\ny", "b": "x\ny"}),
        (["--größe", "1"], {"größe": "1"}),
        (["--" + "n" * (LONGEST_NAME + 1), "1"], {}),
        (["--a", "v" * (LONGEST_VALUE + 9)], {"a": "v" * LONGEST_VALUE}),
        ([], {}),
        (None, {}),
        ("--a 1", {}),
        ({"--a": 1}, {}),
    ],
)  # fmt: skip
def test_arguments_have_parameters(arguments: object, found: dict[str, str]) -> None:
    assert parameters(arguments) == found


def test_a_command_line_of_megabytes_has_so_many_parameters_and_no_more() -> None:
    assert len(parameters([f"--p{place}={place}" for place in range(MOST * 5)])) == MOST
    assert parameters(["=" * 100_000, "-" * 100_000, "a" * 100_000 + "=1"]) == {}


def test_numbers_are_decimal_and_finite() -> None:
    spelled = {"1": 1.0, "-0.5": -0.5, "+2.": 2.0, ".5": 0.5, "1e-3": 0.001, "1E5": 1e5, "007": 7.0}
    assert {text: number(text) for text in spelled} == spelled
    for text in ("", "nan", "inf", "1_000", "0x10", "1e", "e5", ".", "1 ", "1e999", "٣", "1.2.3", "true", "--1"):
        assert number(text) is None, text


@given(st.lists(st.one_of(st.text(), st.sampled_from(["--a", "-b", "c=1", "--", "-1"]), st.integers(), st.none())))
def test_whatever_the_arguments_are_names_and_values_are_text_within_bounds(arguments: list[Any]) -> None:
    for name, value in parameters(arguments).items():
        assert 0 < len(name) <= LONGEST_NAME
        assert len(value) <= LONGEST_VALUE
        found = number(value)
        assert found is None or math.isfinite(found)
