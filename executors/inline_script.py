"""A Python script as `python script.py` would run it, in this process, and everything as it was afterwards."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn

from onrecord.executors.inline_output import Outputs
from onrecord.executors.inline_stop import ScriptStopped, StopWatch
from onrecord.executors.protocol import Launch
from onrecord.executors.records import MARKER
from onrecord.executors.usage import descendants

_OUR_FILES = (__file__, runpy.__file__, "<frozen runpy>")


class Outcome(NamedTuple):
    """How it ended: exit code or signal, the `survivors` that had to be ended, `was_asked` to end by its executor."""

    exit_code: int | None
    signal: int | None
    survivors: int
    was_asked: bool


def run_script(launch: Launch, token: str, watch: StopWatch) -> Outcome:
    """Run the launch's second word under Python; returns its end, whatever it raises."""
    children = set(descendants(os.getpid())) if sys.platform.startswith("linux") else set()
    with _surroundings(launch, token), Outputs(launch.stdout, launch.stderr):
        script = str(launch.working_directory / launch.command[1])
        me = os.getpid()
        code, number = _guarded(lambda: _run(script, watch))
        if os.getpid() != me:
            # A child that the script forked has come to its end, and must not go on as the caller.
            _end_child(code, number)
    survivors = _end_what_is_left(launch, token, children)
    return Outcome(code, number, survivors, bool(watch.reason))


def _run(script: str, watch: StopWatch) -> None:
    threads = set(threading.enumerate())
    with watch:
        threads |= set(threading.enumerate())
        runpy.run_path(script, run_name="__main__")
        # As an interpreter waits for them before it ends.
        for thread in set(threading.enumerate()) - threads:
            if not thread.daemon:
                thread.join()


def _guarded(run: Callable[[], None]) -> tuple[int | None, int | None]:
    """The exit code or the signal that stands for how a call ended, with the traceback where Python prints one."""
    try:
        run()
    except SystemExit as asked:
        return _exit_code(asked.code), None
    except ScriptStopped:
        return None, signal.SIGTERM
    except KeyboardInterrupt as interrupt:
        _print(interrupt)
        return None, signal.SIGINT
    except BaseException as error:
        _print(error)
        return 1, None
    return 0, None


def _exit_code(code: object) -> int:
    """As the interpreter makes it of `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _end_child(code: int | None, number: int | None) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(128 + (number or 0) if code is None else code)


def _print(error: BaseException) -> None:
    """The traceback from the script's own first line on."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename in _OUR_FILES:
        at = at.tb_next
    traceback.print_exception(type(error), error, at)


@contextmanager
def _surroundings(launch: Launch, token: str) -> Iterator[None]:
    """The script's folder, arguments, environment, import path and modules; the caller's own afterwards."""
    folder, environment = Path.cwd(), dict(os.environ)
    arguments, path = sys.argv, sys.path
    script = launch.working_directory / launch.command[1]
    hidden = _take_modules(_top_level_names(script.parent))
    loaded = set(sys.modules)
    try:
        os.chdir(launch.working_directory)
        _replace_environment({**launch.environment, "PWD": str(launch.working_directory), MARKER: token})
        sys.argv = list(launch.command[1:])
        sys.path = [str(script.parent), *path]
        yield
    finally:
        sys.argv, sys.path = arguments, path
        _replace_environment(environment)
        os.chdir(folder)
        for name in [name for name in set(sys.modules) - loaded if _is_below(sys.modules[name], script.parent)]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _replace_environment(wanted: dict[str, str]) -> None:
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)


def _top_level_names(folder: Path) -> set[str]:
    """What the script's own folder offers to import; the standard library is imported already, and stays."""
    try:
        names = {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir()}
    except OSError:
        return set()
    return names - set(sys.stdlib_module_names) - {"onrecord", "__main__"}


def _take_modules(names: set[str]) -> dict[str, ModuleType]:
    """Modules of these names, out of the interpreter's table: the script is to import its own copy of them."""
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}


def _is_below(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def _end_what_is_left(launch: Launch, token: str, before: set[int]) -> int:
    """End processes that the script left behind; how many."""
    from onrecord.executors import tree

    left = set(descendants(os.getpid())) - before if sys.platform.startswith("linux") else set()
    ended = tree.end_tree(tree.Seed(None, token, (launch.stdout, launch.stderr)))
    for pid in left:
        try:
            # Its parent is this process, which goes on: nobody else would ever collect it.
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                ended += 1
        except (ChildProcessError, ProcessLookupError):
            continue
    return ended
