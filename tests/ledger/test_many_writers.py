"""Many processes, one file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from make_ledger import journal, output, python, run_id, submitted

from onrecord.ledger.audit import audit
from onrecord.ledger.query import Query

WRITER = """
import sys
from pathlib import Path
from make_ledger import journal, submitted
from onrecord.ledger.events import RunTagged
folder, mine, shared, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
sys.stdin.read()  # every writer starts when the last one is ready
with journal(folder) as book:
    book.append(mine, [submitted()])
    for number in range(count):
        done = book.append(mine if number % 2 else shared, [RunTagged(tags={mine: str(number)})])
        print(done.seq)
"""


def test_eight_processes_append_at_once_and_every_event_is_there_once(tmp_path: Path, long_form: bool) -> None:
    count = 2000 if long_form else 200
    shared, runs = run_id(), [run_id() for _ in range(8)]
    with journal(tmp_path) as book:
        book.append(shared, [submitted()])
    writers = [python(WRITER, tmp_path, run, shared, count, stdin=subprocess.PIPE) for run in runs]
    acknowledged = [int(line) for text in [output(writer) for writer in writers] for line in text.split()]
    with journal(tmp_path) as book:
        assert book.size() == 1 + 8 * (count + 1)
        assert len(set(acknowledged)) == len(acknowledged) == 8 * count
        assert [Query(book).run(run).head for run in [*runs, shared]] == [count // 2 + 1] * 8 + [4 * count + 1]
        assert audit(book).findings == []
        assert set(Query(book).tags(shared)[shared]) == set(runs)


CREATOR = """
import sys
from pathlib import Path
from make_ledger import journal, submitted
sys.stdin.read()
with journal(Path(sys.argv[1])) as book:
    book.append(sys.argv[2], [submitted()])
"""


def test_processes_that_create_the_same_ledger_at_once_share_it(tmp_path: Path) -> None:
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        creators = [python(CREATOR, folder, run_id(), stdin=subprocess.PIPE) for _ in range(4)]
        for creator in creators:
            output(creator)
        with journal(folder) as book:
            assert book.size() == 4
            assert audit(book).findings == []
            assert sorted(row.number for row in Query(book).runs()) == [1, 2, 3, 4]
