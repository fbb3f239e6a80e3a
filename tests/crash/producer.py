"""A script that writes much in a short time: OUTSIDE SMALL LARGE.

So many small files, then so many large ones with two names each; their addresses it says outside.
"""

import os
import sys
from pathlib import Path

from blake3 import blake3

outside, small, large = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
outputs = Path("outputs")


def put(name, content):
    (outputs / name).write_bytes(content)
    return f"{blake3(content).hexdigest()} outputs/{name}\n"


lines = [put(f"small_{number}.txt", b"%d\n" % number * 50) for number in range(small)]
lines += [put(f"large_{number}.bin", os.urandom((4 << 20) + number)) for number in range(large)]
for number in range(large):
    # With another name a file is copied, and its copy is read again before it goes: that takes its time.
    os.link(outputs / f"large_{number}.bin", outputs / f"large_too_{number}.bin")
lines += [line.replace("/large_", "/large_too_") for line in lines[small:]]
put("dropped.bin", os.urandom(5 << 20))
(outputs / "dropped.bin").unlink()
(outside / "written").write_text("".join(lines))
(outside / "ready").touch()
