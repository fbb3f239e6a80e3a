"""Ledgers that cannot be written, for want of permission or of room."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_model_versions
from make_ledger import ended_well, file, finished_run, in_fork, journal, output, python, raw, run_id, submitted

import onrecord.ledger
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerError, LedgerReadOnly
from onrecord.ledger.events import RunTagged
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.ledger.schema import PROJECTION_VERSIONS

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may look into (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="onrecord-test-"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


# A child that has become nobody may not be able to read the package's own files any more (a checkout below
# /root): whatever is imported late is imported before.
for module in pkgutil.iter_modules(onrecord.ledger.__path__):
    importlib.import_module(f"onrecord.ledger.{module.name}")


def as_a_reader(folder: Path, work: Callable[[], None]) -> bool:
    """Run `work` in a child that may read, not write, what is in `folder`; whether it went well."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)

    def child() -> None:
        if os.getuid() == 0:  # root writes whatever the mode says
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    well = ended_well(in_fork(child))
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    return well


def _refused(book: Journal, run: str) -> None:
    for write in (lambda: book.append(run, [RunTagged()]), book.rebuild):
        with pytest.raises(LedgerReadOnly):
            write()


def test_a_ledger_at_rest_in_a_read_only_folder_is_read_and_not_written(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)

    def child() -> None:
        with journal(folder) as book:
            assert Query(book).run(run).status == "Completed"
            assert Query(book).tags(run) == {run: {"b": "2"}}
            _refused(book, run)
            assert audit(book).findings == []

    assert as_a_reader(folder, child)


def test_a_reader_sees_all_tags_points_and_files_also_where_no_writer_brought_the_tables_up_to_date(
    folder: Path,
) -> None:
    with journal(folder) as book:
        run = finished_run(book)
        book.catch_up()
        book.append(run, [RunTagged(tags={"late": "1"}), file("late")])
        other = finished_run(book)
        assert book.fetch("SELECT DISTINCT seq FROM projections WHERE name NOT IN ('runs', 'tree')") == [(8,)]

    def child() -> None:
        with journal(folder) as book:
            assert Query(book).tags(run) == {run: {"b": "2", "late": "1"}}
            assert [row.name for row in Query(book).files(run)] == ["late", "outputs/model"]
            assert len(Query(book).metrics(other)["loss"]) == 1
            assert [row.run_id for row in Query(book).runs(tags={"late": None})] == [run]
            assert Query(book).spool_position(other) == 10
            found = Query(book).search("text late and params.alpha = 0.5 order by metrics.loss")
            assert [row.run_id for row in found.rows] == [run]
            assert len(Query(book).search("~exp and descendant of " + run_id(0)).rows) == 2

    assert as_a_reader(folder, child)


def test_a_reader_is_told_how_the_ledger_was(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
        book.append(run, [RunTagged(tags={"late": "1"})])

    def child() -> None:
        with journal(folder) as book:
            assert Query(book).at(8).tags() == {run: {"b": "2"}}
            assert Query(book).at(3).run(run).status == "Running"
            assert Query(book).search("~late", as_of=8).rows == []
            assert len(Query(book).search("~late").rows) == 1

    assert as_a_reader(folder, child)


def test_a_reader_beside_a_writer_sees_each_new_event(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        inside = in_fork(lambda: _read_twice(folder, run, to_child, from_child))
        book.size()
        os.write(from_child, b"")
        assert os.read(to_parent, 1) == b"1"
        book.append(run, [RunTagged(tags={"late": "1"})])
        os.write(from_parent, b"2")
        assert ended_well(inside)
        for descriptor in (to_child, from_parent, to_parent, from_child):
            os.close(descriptor)


def _read_twice(folder: Path, run: str, wait: int, tell: int) -> None:
    with Journal(folder / "ledger.db", read_only=True) as book:  # no permission needed to look at both tables
        assert Query(book).tags(run)[run] == {"b": "2"}
        os.write(tell, b"1")
        os.read(wait, 1)
        assert Query(book).tags(run)[run] == {"b": "2", "late": "1"}


def test_a_ledger_opened_at_rest_is_opened_again_when_someone_has_written(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
    reading, writing = os.pipe()
    told, tell = os.pipe()

    def child() -> None:
        with journal(folder) as book:
            assert book.size() == 8
            os.write(tell, b"1")
            os.read(reading, 1)
            assert book.size() == 9
            assert audit(book).findings == []

    def writer() -> None:
        os.read(told, 1)
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
        with journal(folder) as book:
            book.append(run, [RunTagged()])
        os.write(writing, b"2")

    other = in_fork(writer)
    assert as_a_reader(folder, child)
    assert ended_well(other)
    for descriptor in (reading, writing, told, tell):
        os.close(descriptor)


def test_a_writer_that_comes_between_catching_up_and_reading_takes_nothing_away(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
    with Journal(folder / "ledger.db", read_only=True) as reader:
        reader.catch_up()
        with journal(folder) as book:
            book.append(run, [RunTagged(tags={"late": "1"})])
            assert reader.fetch("SELECT name FROM tags ORDER BY 1") == [("b",), ("late",)]
        assert Query(reader).tags(run) == {run: {"b": "2", "late": "1"}}


def test_a_folder_that_is_read_only_and_has_no_ledger_says_so(folder: Path) -> None:
    def child() -> None:
        with journal(folder) as book:
            for use in (book.size, book.catch_up, lambda: book.append(run_id(), [submitted()])):
                with pytest.raises(LedgerReadOnly):
                    use()

    assert as_a_reader(folder, child)
    (folder / "ledger.db").touch()

    def with_an_empty_file() -> None:
        with journal(folder) as book, pytest.raises(LedgerError, match="not an onrecord ledger"):
            book.size()

    assert as_a_reader(folder, with_an_empty_file)


def test_a_copied_log_without_its_index_is_not_silently_ignored(folder: Path) -> None:
    with journal(folder) as book:
        finished_run(book)
        log = Path(f"{book.database.path}-wal").read_bytes()
    Path(f"{folder}/ledger.db-wal").write_bytes(log)

    def child() -> None:
        with journal(folder) as book:
            try:
                assert book.size() == 8
            except LedgerReadOnly as refusal:
                assert "-wal" in str(refusal)

    assert as_a_reader(folder, child)


def test_a_file_that_becomes_writable_is_written_after_the_next_opening(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
    reading, writing = os.pipe()

    def child() -> None:
        with journal(folder) as book:
            _refused(book, run)
            book.close()
            os.chdir(folder)
            os.read(reading, 1)

    os.write(writing, b"1")
    assert as_a_reader(folder, child)
    os.close(reading)
    os.close(writing)
    with journal(folder) as book:
        assert book.append(run, [RunTagged()]).head == 9


def test_the_lock_file_of_another_user_does_not_stop_a_writer(folder: Path) -> None:
    with journal(folder) as book:
        run = finished_run(book)
    for path in folder.iterdir():
        path.chmod(0o666)
    (folder / "ledger.db-lock").chmod(0o444)
    folder.chmod(0o777)

    def child() -> None:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        with journal(folder) as book:
            book.append(run, [RunTagged()])

    assert ended_well(in_fork(child))


# In a mount namespace of its own, so that no mount outlives the process or is seen outside it.
MOUNTED = """
import subprocess, sys
from pathlib import Path
import pytest
import test_model_versions
from make_ledger import finished_run, journal, metrics, run_id, series, submitted, tables
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerError, LedgerFull, LedgerReadOnly
from onrecord.ledger.events import RunTagged
from onrecord.ledger.query import Query
from onrecord.ledger.schema import PROJECTION_VERSIONS
folder = Path(sys.argv[1])
def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
mount("size=1m")
"""

READ_ONLY_DISK = """
with journal(folder) as book:
    run = finished_run(book)
mount("remount,ro,size=1m")
with journal(folder) as book:
    assert Query(book).tags(run) == {run: {"b": "2"}}
    with pytest.raises(LedgerReadOnly):
        book.append(run, [RunTagged()])
    assert audit(book).findings == []
    mount("remount,rw,size=1m")
    book.close()
    book.append(run, [RunTagged()])
"""

FULL_DISK = """
with journal(folder) as book:
    run = run_id()
    book.append(run, [submitted()])
    acknowledged = 1
    with pytest.raises(LedgerFull):
        for number in range(1000):
            # Of random size, so that the disk fills at any place of the writing.
            noise = tuple(hash((number, n)) for n in range(37 * number % 1000 + 1))
            durable = [RunTagged(tags={"n": str(number)})] * (number % 2)
            book.append(run, [metrics(series("noise", noise, "int64")), *durable])
            acknowledged += 1 + len(durable)
    assert book.size() == acknowledged
    for again in range(3):
        with pytest.raises(LedgerFull):
            book.append(run, [RunTagged(tags={"big": "x" * 300_000})])
    assert book.size() == acknowledged
    mount("remount,size=16m")
    book.append(run, [RunTagged(tags={"big": "x" * 300_000})])
    assert Query(book).tags(run)[run]["big"]
    assert audit(book).findings == [] and book.size() == acknowledged + 1
with journal(folder) as book:
    assert audit(book).findings == [] and book.size() == acknowledged + 1
    print(acknowledged)
"""

FULL_FROM_THE_START = """
with open(folder / "filler", "wb", buffering=0) as filler:
    try:
        while filler.write(b"x" * 4096):
            pass
    except OSError:
        pass
with journal(folder) as book:
    with pytest.raises(LedgerFull):
        book.append(run_id(), [submitted()])
    (folder / "filler").unlink()
    assert book.append(run_id(), [submitted()]).seq == 1
    assert audit(book).findings == []
"""


@pytest.mark.parametrize(
    "what", [READ_ONLY_DISK, FULL_DISK, FULL_FROM_THE_START], ids=["read-only", "full", "full at once"]
)
def test_a_disk_that_cannot_be_written_loses_nothing_and_is_written_again_when_it_can(
    tmp_path: Path, what: str
) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk of its own")
    output(python(MOUNTED + what, tmp_path, prefix=[unshare, "-m"]))


def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path: Path) -> None:
    # The full disk of those who may mount none: SQLite cannot tell this from a failing disk.
    code = """
import resource, signal, sys
from pathlib import Path
import pytest
import test_model_versions
from make_ledger import journal, run_id, submitted
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerError
from onrecord.ledger.events import RunTagged
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with journal(Path(sys.argv[1])) as book:
    run = run_id()
    book.append(run, [submitted()])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, unlimited[1]))
    acknowledged = 1
    with pytest.raises(LedgerError):
        while True:
            acknowledged = book.append(run, [RunTagged(tags={"a": "x" * 5000})]).seq
    assert book.size() == acknowledged
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert book.append(run, [RunTagged()]).seq == acknowledged + 1
    assert audit(book).findings == []
"""
    output(python(code, tmp_path))


def test_a_read_only_file_that_is_damaged_is_not_opened(folder: Path) -> None:
    connection = raw(folder / "ledger.db")
    connection.execute("CREATE TABLE t(x)")
    connection.close()

    def child() -> None:
        with journal(folder) as book, pytest.raises(LedgerError, match="another program"):
            book.size()

    assert as_a_reader(folder, child)


@pytest.mark.parametrize("name", PROJECTION_VERSIONS)
def test_a_reader_gets_read_models_of_another_version_made_again_in_memory(folder: Path, name: str) -> None:
    with journal(folder) as book:
        finished_run(book)
    before = test_model_versions.answers(folder)
    test_model_versions.pretend_older(folder, name)

    def read() -> None:
        assert test_model_versions.answers(folder) == before

    assert as_a_reader(folder, read)
