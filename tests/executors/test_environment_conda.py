"""conda packages: solved and linked for real, from a channel made on the spot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from environment_make import PLACEHOLDER, conda_channel, conda_python, offline, ready, wheel

from onrecord.executors.environment import Recipe
from onrecord.executors.environment_errors import EnvironmentBuildFailed
from onrecord.executors.environment_inventory import installed, problems_of

pytest.importorskip("rattler", reason="py-rattler is not installed: pip install 'onrecord[conda]'")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of one test are not found by another."""
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler"))
    monkeypatch.setenv("ONRECORD_INSTALLER", "uv")


@pytest.fixture
def channel(tmp_path: Path) -> str:
    """Python, a package with two versions, and one that needs it and writes down where it is."""
    greeter = {
        "name": "greeter",
        "version": "2.1",
        "depends": ["python", "helper >=1"],
        "files": {"bin/greet": f"#!/bin/sh\necho at {PLACEHOLDER}\n"},
    }
    helpers = [{"name": "helper", "version": one, "files": {"share/helper.txt": one}} for one in ("0.9", "1.5")]
    return conda_channel(tmp_path / "channel", [conda_python(), greeter, *helpers])


def test_packages_are_solved_and_linked_and_pip_installs_beside_them(
    tmp_path: Path, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = offline(wheel(tmp_path / "wheels", "tiny").parent, "tiny")
    wanted = Recipe("", lines, conda_channels=(channel,), conda_packages=("python", "greeter>=2"))
    for installer in ("uv", "pip"):
        monkeypatch.setenv("ONRECORD_INSTALLER", installer)
        made = ready(tmp_path / installer, wanted)
        assert installed(made.prefix).keys() == {"conda:greeter", "conda:helper", "conda:python", "tiny"}
        assert (made.prefix / "share" / "helper.txt").read_text() == "1.5"
        greeting = subprocess.run([made.prefix / "bin" / "greet"], capture_output=True, text=True, check=True)
        assert greeting.stdout == f"at {made.prefix}\n"
        where = subprocess.run(
            [made.python, "-c", "import tiny; print(tiny.__file__)"], capture_output=True, check=True
        )
        assert where.stdout.decode().startswith(str(made.prefix))
        assert list(problems_of(made.prefix)) == []
        (made.prefix / "share" / "helper.txt").unlink()
        assert len(list(problems_of(made.prefix))) == 1


def test_one_of_conda_is_built_again_where_it_is_moved_to(tmp_path: Path, channel: str) -> None:
    wanted = Recipe("", conda_channels=(channel,), conda_packages=("python", "greeter"))
    ready(tmp_path / "envs", wanted)
    (tmp_path / "envs").rename(tmp_path / "moved")
    made = ready(tmp_path / "moved", wanted)
    assert made.built
    assert str(made.prefix) in (made.prefix / "bin" / "greet").read_text()


@pytest.mark.long
def test_this_onrecord_comes_along_into_one_of_conda(tmp_path: Path, channel: str) -> None:
    wanted = Recipe("", conda_channels=(channel,), conda_packages=("python",), carried=("onrecord",))
    made = ready(tmp_path / "envs", wanted)
    found = subprocess.run([made.python, "-I", "-c", "import onrecord.ledger.journal"], check=False, cwd="/")
    assert found.returncode == 0


@pytest.mark.parametrize(
    ("packages", "says"),
    [(("python", "nowhere"), "nowhere"), (("helper",), "no Python"), (("python", "helper=7"), "helper")],
)
def test_what_cannot_be_had_is_named(tmp_path: Path, channel: str, packages: tuple[str, ...], says: str) -> None:
    with pytest.raises(EnvironmentBuildFailed, match=says) as caught:
        ready(tmp_path / "envs", Recipe("", conda_channels=(channel,), conda_packages=packages))
    assert not [path for path in caught.value.log.parent.iterdir() if path.is_dir()]  # type: ignore[attr-defined]


def test_a_channel_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    wanted = Recipe("", conda_channels=((tmp_path / "none").as_uri(),), conda_packages=("python", "a"))
    with pytest.raises(EnvironmentBuildFailed) as caught:
        ready(tmp_path / "envs", wanted)
    assert caught.value.why
