"""Misbehaving workload. argv: PIDFILE [ignore] — spawns: child (same group), setsid grandchild, double-forked daemon
(reparented), SIGTERM-ignoring daemon with a scrubbed environment; then sleeps."""

# ruff: noqa: PTH123, S606
import os
import signal
import sys
import time

pf, mode = sys.argv[1], sys.argv[2:]


def rec(n):
    with open(pf, "a") as f:
        f.write(f"{n} {os.getpid()}\n")


open(pf, "w").close()
rec("main")
if os.fork() == 0:
    rec("child_same_group")
    time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    os.setsid()
    rec("setsid_grandchild")
    time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        rec("daemon_double_fork_ignoring_TERM")
        time.sleep(600)
        os._exit(0)
    os._exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        rec("daemon_scrubbed_env")
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        rec("fork_respawner")
    else:
        os._exit(0)
    while True:  # keeps respawning itself: pid changes every 50 ms (races every 'list then kill')
        time.sleep(0.05)
        if os.fork():
            os._exit(0)
        with open(pf + ".respawn", "w") as f:
            f.write(str(os.getpid()))
if "ignore" in mode:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
