"""The script of most rounds: OUTSIDE SECONDS FILES CODE.

Says in the folder OUTSIDE that it started and which outputs it has finished writing, then sleeps and
ends with CODE. SIGTERM makes it end with 9, half a second later.
"""

import os
import signal
import sys
import time
from pathlib import Path

outside, seconds, files, code = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def end_slowly(number, frame):
    time.sleep(0.5)
    os._exit(9)


def say(name, text):
    with (outside / name).open("a") as file:
        file.write(text + "\n")


signal.signal(signal.SIGTERM, end_slowly)
say("starts", str(os.getpid()))
for number in range(files):
    Path(f"outputs/file_{number}.txt").write_text(f"output {number} of {os.environ['ONRECORD_RUN_ID']}\n" * 50)
    say("written", f"outputs/file_{number}.txt")
print("all is written")
say("ready", "")
time.sleep(seconds)
sys.exit(code)
