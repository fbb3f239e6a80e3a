"""A script whose processes try to outlive it: PIDFILE."""

import os
import signal
import sys
import time
from pathlib import Path

path = Path(sys.argv[1])


def say(name):
    with path.open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


def in_child(life):
    if os.fork() == 0:
        life()
        os._exit(0)


def as_daemon(life):
    def first():
        os.setsid()
        in_child(life)

    in_child(first)


def sleep(name):
    say(name)
    time.sleep(600)


def own_session():
    os.setsid()
    sleep("own_session")


def deaf_daemon():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep("deaf_daemon")


def daemon_without_environment():
    say("daemon_without_environment")
    os.execve("/bin/sleep", ["sleep", "600"], {})  # noqa: S606


def respawner():
    # Its pid changes every 50 ms, which races whoever lists processes and then kills them.
    while True:
        time.sleep(0.05)
        if os.fork():
            os._exit(0)
        say("respawner")


in_child(lambda: sleep("child"))
in_child(own_session)
as_daemon(deaf_daemon)
as_daemon(daemon_without_environment)
as_daemon(respawner)
say("main")
time.sleep(600)
