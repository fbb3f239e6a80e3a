"""A fork bomb that cannot hurt: OUTSIDE MOST [deaf]. Every process forks as fast as it can, while there are tokens.

So many processes in all, each in a session of its own and, if that is wanted, deaf to SIGTERM.
"""

import os
import signal
import sys
import time
from pathlib import Path

outside, most = Path(sys.argv[1]), int(sys.argv[2])
tokens, fill = os.pipe()
os.set_blocking(tokens, False)
os.write(fill, b"t" * most)
if len(sys.argv) > 3:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = os.open(outside / "pids", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def may_fork():
    try:
        return bool(os.read(tokens, 1))
    except BlockingIOError:
        return False


end = time.monotonic() + 120
while time.monotonic() < end:
    if may_fork():
        if os.fork() == 0:
            os.setsid()
            os.write(pids, b"%d\n" % os.getpid())
    else:
        time.sleep(0.05)
