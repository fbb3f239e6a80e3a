"""Environments made by the engine: by content, once, whole or not at all, and never from under who is in one."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment_make import BASE, Said, offline, ready, recipe, sdist, wheel

import onrecord
from onrecord.executors.environment import Recipe, key_of
from onrecord.executors.environment_cache import Cache
from onrecord.executors.environment_diagnosis import diagnosed
from onrecord.executors.environment_errors import BadEnvironment, BuildStopped, EnvironmentBuildFailed
from onrecord.executors.environment_inventory import installed, problems_of
from onrecord.executors.environment_lockfile import as_requirements

LONG_SECONDS = 60


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with two packages, of which the first needs the second and has a command."""
    folder = tmp_path / "wheels"
    wheel(folder, "tiny", requires=["tinydep"], command="tiny-command")
    wheel(folder, "tinydep", "2.0")
    return folder


@pytest.fixture(params=["uv", "pip"])
def each_installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs with uv and with pip."""
    monkeypatch.setenv("ONRECORD_INSTALLER", request.param)
    return str(request.param)


@pytest.fixture
def with_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quicker installer, where the test is about something else."""
    monkeypatch.setenv("ONRECORD_INSTALLER", "uv")


def output(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def nothing_but_the_log(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"lock", "build.log"}


def until(happened: object) -> None:
    end = time.monotonic() + LONG_SECONDS
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# ---- what is made ----------------------------------------------------------------------------------


def test_it_has_what_was_asked_for_and_what_that_needs(tmp_path: Path, wheels: Path, each_installer: str) -> None:
    said = Said()
    made = ready(tmp_path / "envs", recipe(*offline(wheels, "tiny")), tell=said)
    assert made.built
    assert output(made.python, "-c", "import tiny, tinydep; print(tiny.VERSION, tinydep.VERSION)") == "1.0 2.0"
    assert installed(made.prefix) == {"tiny": "1.0", "tinydep": "2.0"}
    assert list(problems_of(made.prefix)) == []
    assert "tiny" in made.log.read_text()
    assert said[0] == f"building the environment tests with {each_installer}"
    assert said[-1].startswith("the environment tests is ready: 2 packages in ")


def test_it_is_found_again_by_its_content_with_nothing_done(
    tmp_path: Path, wheels: Path, with_uv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    first = ready(tmp_path / "envs", wanted)
    shutil.rmtree(wheels)
    # Nothing that could install is there any more.
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("ONRECORD_INSTALLER", "neither")
    said = Said()
    again = ready(tmp_path / "envs", wanted, tell=said)
    assert (again.prefix, again.built, said) == (first.prefix, False, [])


def test_the_key_is_of_the_content_and_its_order() -> None:
    one = recipe("a", "b")
    assert key_of(one) == key_of(recipe("a", "b"))
    others = [recipe("b", "a"), recipe("a"), recipe("a", "b", pylock="x"), recipe("a", "b", carried=("onrecord",))]
    assert len({key_of(other) for other in [one, *others]}) == 5
    assert len(key_of(one)) == 32


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment) as caught:
        key_of(Recipe(str(tmp_path / "python"), ("a",)))
    assert caught.value.field == "interpreter_path"  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(caught.value)).values == caught.value.values  # noqa: S301 - our own


def test_its_commands_go_on_working_where_it_is_moved_to(tmp_path: Path, wheels: Path, each_installer: str) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    ready(tmp_path / "envs", wanted)
    (tmp_path / "envs").rename(tmp_path / "moved")
    made = ready(tmp_path / "moved", wanted)
    assert not made.built
    assert output(made.prefix / "bin" / "tiny-command") == "1.0"


def test_a_lock_installs_exactly_what_it_lists(tmp_path: Path, wheels: Path, each_installer: str) -> None:
    made = ready(tmp_path / "envs", recipe(pylock=_lock(wheels)))
    assert installed(made.prefix) == {"tiny": "1.0", "tinydep": "2.0"}


def test_a_lock_with_a_wrong_hash_installs_nothing(tmp_path: Path, wheels: Path, with_uv: None) -> None:
    lock = _lock(wheels)
    wheel(wheels, "tiny", files={"tiny.py": "VERSION = 'another'\n"})
    with pytest.raises(EnvironmentBuildFailed) as caught:
        ready(tmp_path / "envs", recipe(pylock=lock))
    assert "hash" in str(caught.value).lower() + caught.value.details.lower()  # type: ignore[attr-defined]


def test_a_lock_that_pip_cannot_use_is_refused_with_the_way_out() -> None:
    for text in ("]", "a = 1", 'lock-version = "1.0"\n[[packages]]\nname = "a"\nvcs = {type = "git"}'):
        with pytest.raises(BadEnvironment, match=r"onrecord\[uv\]"):
            as_requirements(text)


def _lock(wheels: Path) -> str:
    import hashlib

    text = 'lock-version = "1.0"\ncreated-by = "tests"\n'
    for name, version in (("tiny", "1.0"), ("tinydep", "2.0")):
        path = wheels / f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        text += (
            f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
            f'wheels = [{{ url = "{path.as_uri()}", hashes = {{ sha256 = "{digest}" }} }}]\n'
        )
    return text


def test_this_onrecord_is_carried_along_with_what_it_needs_and_no_index(tmp_path: Path, with_uv: None) -> None:
    made = ready(tmp_path / "envs", recipe(carried=("onrecord",)))
    where = output(made.python, "-I", "-c", "import onrecord, onrecord.ledger.journal as j; print(j.__file__)")
    assert where.startswith(str(made.prefix))
    assert output(made.prefix / "bin" / "onrecord", "--version").startswith("onrecord ")
    found = installed(made.prefix)
    assert {"onrecord", "attrs", "blake3", "click", "watchdog"} <= found.keys()
    assert list(problems_of(made.prefix)) == []


# ---- what goes wrong -------------------------------------------------------------------------------


def test_a_package_that_is_nowhere_fails_the_build_and_leaves_only_the_log(
    tmp_path: Path, wheels: Path, with_uv: None
) -> None:
    wanted = recipe(*offline(wheels, "tiny", "nowhere==3"))
    with pytest.raises(EnvironmentBuildFailed) as caught:
        ready(tmp_path / "envs", wanted)
    assert "nowhere" in str(caught.value)
    assert "--find-links" in caught.value.next_step
    folder = tmp_path / "envs" / key_of(wanted)
    assert nothing_but_the_log(folder)
    assert caught.value.log == folder / "build.log"  # type: ignore[attr-defined]
    assert "nowhere" in caught.value.details  # type: ignore[attr-defined]
    # What was missing is there the next time.
    wheel(wheels, "nowhere", "3")
    assert ready(tmp_path / "envs", wanted).built


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (
            "error: Request failed after 3 retries in 7.1s\n  cause: Failed to fetch: http://index/simple/requests/\n"
            "  cause: dns error",
            "the index cannot be reached (http://index/simple/requests/); could not be had: requests",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError': /simple/requests/\n"
            "ERROR: No matching distribution found for requests==2.0",
            "the index cannot be reached; could not be had: requests==2.0",
        ),
        ("ERROR: No matching distribution found for tiny==3", "not found: tiny==3."),
        ("error: Cannot solve: No candidates were found for nothere *.", "not found: nothere."),
        ("something\nerror: it is broken\n  cause: here", "it is broken here"),
        ("", ""),
    ],
)
def test_the_reason_is_told_from_what_the_installer_prints(log: str, why: str) -> None:
    assert diagnosed(log).why.startswith(why)


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path, wheels: Path, with_uv: None) -> None:
    # Root may write everywhere: a file stands where the folder is to come.
    (tmp_path / "envs").write_text("in the way")
    with pytest.raises(OSError, match="envs"):
        ready(tmp_path / "envs", recipe(*offline(wheels, "tiny")))


def test_an_installer_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONRECORD_INSTALLER", "conda")
    with pytest.raises(BadEnvironment, match="uv or pip"):
        ready(tmp_path / "envs", recipe("a"))


def test_what_was_changed_since_is_found(tmp_path: Path, wheels: Path, with_uv: None) -> None:
    made = ready(tmp_path / "envs", recipe(*offline(wheels, "tiny")))
    site = next(made.prefix.glob("lib/python3*/site-packages"))
    text = (site / "tiny.py").read_text()
    (site / "tiny.py").unlink()
    (site / "tiny.py").write_text(text.replace("1.0", "6.6"))
    (site / "tinydep.py").unlink()
    assert len(list(problems_of(made.prefix))) == 2
    assert len(list(problems_of(made.prefix, read=False))) == 1


def test_one_that_did_not_survive_a_restart_of_the_machine_is_built_again(
    tmp_path: Path, wheels: Path, with_uv: None
) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    first = ready(tmp_path / "envs", wanted)
    ok = first.prefix.parent / ".ok"
    ok.write_text(json.dumps({**json.loads(ok.read_text()), "boot_id": "an earlier one"}))
    assert not ready(tmp_path / "envs", wanted).built
    ok.write_text(json.dumps({**json.loads(ok.read_text()), "boot_id": "an earlier one"}))
    module = next(first.prefix.glob("lib/python3*/site-packages/tiny.py"))
    module.unlink()
    module.write_text("")
    again = ready(tmp_path / "envs", wanted)
    assert again.built
    assert not first.prefix.exists()


@pytest.mark.parametrize("damage", ["no mark", "half a mark", "no interpreter"])
def test_one_that_is_not_whole_is_built_again(tmp_path: Path, wheels: Path, with_uv: None, damage: str) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    first = ready(tmp_path / "envs", wanted)
    ok = first.prefix.parent / ".ok"
    if damage == "no interpreter":
        first.python.unlink()
    elif damage == "no mark":
        ok.unlink()
    else:
        ok.write_bytes(ok.read_bytes()[:20])
    again = ready(tmp_path / "envs", wanted)
    assert again.built
    assert not first.prefix.exists()
    assert output(again.python, "-c", "import tiny; print(tiny.VERSION)") == "1.0"


# ---- at the same time ------------------------------------------------------------------------------


WORKER = """
import json, os, subprocess, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from onrecord.executors.environment import Recipe
from onrecord.executors.environment_cache import Cache
root, wanted, times = Path(sys.argv[2]), Recipe(**json.loads(sys.argv[3])), int(sys.argv[4])
for _ in range(times):
    said = []
    held = Cache(root).ready(wanted, tell=said.append, should_stop=lambda: False)
    subprocess.run([held.python, "-c", "import tiny"], check=True)
    os.close(held.fd)
print(json.dumps([held.built, said]))
"""


def user(root: Path, wanted: Recipe, times: int = 1) -> subprocess.Popen[str]:
    """A process of its own that uses an environment so often."""
    path = json.dumps([str(Path(onrecord.__file__).parent.parent), *sys.path])
    words = [path, str(root), json.dumps(wanted.as_document()), str(times)]
    return subprocess.Popen([sys.executable, "-c", WORKER, *words], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def slow(tmp_path: Path) -> Recipe:
    """A recipe whose build waits until the file `go` is there, and leaves `begun` and the pids of what it started."""
    go, begun, child = tmp_path / "go", tmp_path / "begun", tmp_path / "child"
    setup = (
        f"import os, pathlib, subprocess, time\n"
        f"sleeper = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"pathlib.Path({str(child)!r}).write_text(str(sleeper.pid))\n"
        f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\n"
        f"sleeper.kill()\n"
        f"raise SystemExit('it does not build')\n"
    )
    archives = tmp_path / "archives"
    sdist(archives, "slow", setup)
    return recipe(*offline(archives, "slow"))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("begun", "child")]


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Whatever a test leaves running is ended, by its own pid."""
    yield
    for name in ("begun", "child"):
        if (tmp_path / name).exists() and lives(pid := int((tmp_path / name).read_text())):
            os.kill(pid, signal.SIGKILL)


def test_several_at_once_build_it_once_and_the_others_say_that_they_wait(
    tmp_path: Path, wheels: Path, with_uv: None
) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    # All of them wait for the lock that this test holds.
    held = Cache(tmp_path / "envs")._claim(key_of(wanted))
    assert held is not None
    users = [user(tmp_path / "envs", wanted) for _ in range(3)]
    time.sleep(1)
    os.close(held)
    answers = [json.loads(one.communicate(timeout=LONG_SECONDS)[0]) for one in users]
    assert sorted(built for built, _ in answers) == [False, False, True]
    waiting = "another process builds the same environment; waiting for it"
    assert all(waiting in said for built, said in answers if not built)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by what Linux says of them")
def test_a_stop_ends_everything_that_the_build_started(
    tmp_path: Path, slow: Recipe, with_uv: None, no_leftovers: None
) -> None:
    def asked() -> bool:
        return (tmp_path / "begun").exists()

    with pytest.raises(BuildStopped):
        ready(tmp_path / "envs", slow, should_stop=asked)
    assert not any(map(lives, pids(tmp_path)))
    assert nothing_but_the_log(tmp_path / "envs" / key_of(slow))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by what Linux says of them")
def test_a_build_that_is_killed_is_done_again_and_its_leftovers_are_ended(
    tmp_path: Path, slow: Recipe, with_uv: None, no_leftovers: None
) -> None:
    builder = user(tmp_path / "envs", slow)
    until((tmp_path / "begun").exists)
    builder.kill()
    builder.communicate()
    left = pids(tmp_path)
    assert all(map(lives, left))
    (tmp_path / "begun").unlink()
    with pytest.raises(BuildStopped):
        ready(tmp_path / "envs", slow, should_stop=(tmp_path / "begun").exists)
    assert not any(map(lives, left))


def test_a_wait_can_be_stopped(tmp_path: Path, wheels: Path) -> None:
    wanted, cache = recipe(*offline(wheels, "tiny")), Cache(tmp_path / "envs")
    held = cache._claim(key_of(wanted))
    assert held is not None
    said = Said()
    with pytest.raises(BuildStopped):
        ready(tmp_path / "envs", wanted, tell=said, should_stop=lambda: bool(said))
    os.close(held)


# ---- removing --------------------------------------------------------------------------------------


def test_one_that_something_runs_in_is_never_removed(tmp_path: Path, wheels: Path, with_uv: None) -> None:
    cache, wanted = Cache(tmp_path / "envs"), recipe(*offline(wheels, "tiny"))
    held = cache.ready(wanted, tell=Said(), should_stop=lambda: False)
    assert [(entry.key, entry.in_use) for entry in cache.entries()] == [(held.key, True)]
    assert not cache.remove(held.key)
    assert held.python.exists()
    os.close(held.fd)
    assert cache.remove(held.key)
    assert list(cache.entries()) == []
    assert list(cache.root.iterdir()) == []
    assert not cache.remove(held.key)
    assert cache.hold(held.key) is None


def test_a_removal_that_was_killed_is_cleared_up(tmp_path: Path, wheels: Path, with_uv: None) -> None:
    cache, wanted = Cache(tmp_path / "envs"), recipe(*offline(wheels, "tiny"))
    made = ready(tmp_path / "envs", wanted)
    (cache.root / made.key).rename(cache.root / f".removed-{made.key}-0000")
    assert list(cache.entries()) == []
    assert ready(tmp_path / "envs", wanted).built
    assert cache.clear() == 1
    assert [path.name for path in cache.root.iterdir()] == [made.key]


def test_removing_and_using_at_the_same_time_never_takes_one_away(
    tmp_path: Path, wheels: Path, with_uv: None, long_form: bool
) -> None:
    wanted = recipe(*offline(wheels, "tiny"))
    users = [user(tmp_path / "envs", wanted, 100 if long_form else 5) for _ in range(2)]
    cache = Cache(tmp_path / "envs")
    while any(one.poll() is None for one in users):
        cache.remove(key_of(wanted))
        time.sleep(0.001)
    for one in users:
        one.communicate()
    assert [one.returncode for one in users] == [0, 0]


def test_the_base_interpreter_is_no_virtual_environment() -> None:
    assert output(BASE, "-I", "-c", "import sys; print(sys.prefix == sys.base_prefix)") == "True"
