"""What becomes of the values in a script's arguments."""

from __future__ import annotations

import decimal
import enum
from pathlib import Path
from typing import Any

import numpy
import pytest
from face_make import run_to_end

from onrecord import PyTorchConfiguration
from onrecord.script_arguments import checked_arguments
from onrecord.script_run_config import BadConfig

PRINTS = "import sys; print(sys.argv[1:])\n"


class Colour(enum.Enum):
    """A choice."""

    RED = 1

    def __str__(self) -> str:
        return "red"


class Plain:
    """An object without a text of its own."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.03, "0.03"),
        (1e-30, "1e-30"),
        (float("nan"), "nan"),
        (True, "True"),
        (None, "None"),
        ("a b", "a b"),
        ("", ""),
        (Path("data") / "x", "data/x"),
        (decimal.Decimal("0.10"), "0.10"),
        (Colour.RED, "red"),
        (numpy.float64(0.1), "0.1"),
        (numpy.float32(0.1), "0.1"),
        (numpy.int64(7), "7"),
        (numpy.bool_(True), "True"),
        (numpy.str_("word"), "word"),
        ("umlaut ä \udcff", "umlaut ä \udcff"),
    ],
)
def test_a_single_value_is_passed_as_str_writes_it(value: object, text: str) -> None:
    assert checked_arguments([value]) == (text,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"bytes", "it is bytes"),
        (bytearray(b"x"), "it is bytes"),
        ({"a": 1}, "json.dumps"),
        ([1, 2], "several values"),
        ((1, 2), "several values"),
        ({1}, "several values"),
        (range(3), "several values"),
        (iter([1]), "several values"),
        (numpy.zeros(3), "several values"),
        (numpy.array(0.1), "value.item()"),
        (len, "a function or a class"),
        (Plain, "a function or a class"),
        (Plain(), "its address in memory"),
    ],
)
def test_a_value_without_one_text_is_refused(value: object, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        checked_arguments(["--x", value])
    assert words in str(caught.value)
    assert "next: " in str(caught.value)


@pytest.mark.parametrize("given", ["--alpha 1", b"--alpha 1", {"--alpha": 1}, 7])
def test_arguments_that_are_no_list_are_refused(given: Any) -> None:
    with pytest.raises(BadConfig, match="next: "):
        checked_arguments(given)


def test_arguments_from_a_generator_are_a_list() -> None:
    assert checked_arguments(str(number) for number in range(2)) == ("0", "1")  # type: ignore[arg-type]


def test_the_text_of_a_refused_value_is_cut() -> None:
    with pytest.raises(BadConfig) as caught:
        checked_arguments([["x"] * 10_000])
    assert len(str(caught.value)) < 400


def test_variables_are_replaced_once_from_the_processs_own(tmp_path: Path) -> None:
    given = ["$ONRECORD_EXPERIMENT", "x${DEEP}y", "$$DEEP", "$UNKNOWN", "$(id)", "${{inputs.x}}", "a$", "5$"]
    run = run_to_end(tmp_path, PRINTS, arguments=given, environment_variables={"DEEP": "$HOME a  b"})
    wanted = ["tests", "x$HOME a  by", "$DEEP", "$UNKNOWN", "$(id)", "${{inputs.x}}", "a$", "5$"]
    assert run.read_file("logs/stdout.txt").decode() == f"{wanted}\n"
    # What the values were is in no history.
    assert run.get_details()["runDefinition"]["arguments"] == given


def test_each_process_has_its_own_values(tmp_path: Path) -> None:
    run = run_to_end(
        tmp_path, PRINTS, arguments=["--rank=$RANK", "$DEEP", "$HOSTED"], environment_variables={"DEEP": "$RANK"},
        distributed_job_config=PyTorchConfiguration("gloo", 2),
    )  # fmt: skip
    for rank in (0, 1):
        assert run.read_file(f"logs/rank-{rank}.txt").decode() == f"['--rank={rank}', '$RANK', '$HOSTED']\n"


def test_variables_of_the_job_win_over_those_of_its_environment(tmp_path: Path) -> None:
    from onrecord import Environment

    environment = Environment("mine", environment_variables={"A": "environment", "B": "environment"})
    run = run_to_end(
        tmp_path, PRINTS, arguments=["$A", "$B"], environment=environment, environment_variables={"A": "job"}
    )
    assert run.read_file("logs/stdout.txt") == b"['job', 'environment']\n"
    assert run.get_details()["runDefinition"]["environment_variables"] == {"A": "job"}


@pytest.mark.parametrize("given", [{"": "x"}, {"A=B": "x"}, {"A": "\0"}, {3: "x"}, ["A=1"]])
def test_variables_that_cannot_be_are_refused(tmp_path: Path, given: Any) -> None:
    with pytest.raises(BadConfig, match="OMP_NUM_THREADS"):
        run_to_end(tmp_path, PRINTS, environment_variables=given)
