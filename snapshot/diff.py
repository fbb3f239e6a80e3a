"""What differs between two trees, in time proportional to what differs: equal folders are never read.

A rename is told where a file that went and a file that came have the same content, as git's renames of 100 %
(gitdiffcore(7)), and likewise for whole folders. Unlike git, empty files are no evidence of one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from onrecord.snapshot.digest import digest_bytes
from onrecord.snapshot.manifest import Entry, entry_of
from onrecord.snapshot.side import Side, entry_at, root_entry
from onrecord.snapshot.tree import Node, encode_tree

Kind = Literal["added", "removed", "changed", "renamed"]
Aspect = Literal["type", "content", "mode", "target"]
_EMPTY_FOLDER = digest_bytes(encode_tree([]))


class Change(NamedTuple):
    """One entry that differs: `before` is None where it was added, `after` is None where it was removed.

    Of a rename both are there, under different paths. `files` counts the files that a change of a whole folder
    stands for; 1 for anything else.
    """

    before: Entry | None
    after: Entry | None
    files: int = 1

    @property
    def path(self) -> bytes:
        """Where it is now; where it was, if it was removed."""
        return _one_of(self).path

    @property
    def kind(self) -> Kind:
        """What happened on the way from the first side to the second."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "changed" if self.before.path == self.after.path else "renamed"

    @property
    def aspects(self) -> tuple[Aspect, ...]:
        """In what a changed or renamed entry differs; empty for what was added, removed, or only renamed."""
        old, new = self.before, self.after
        if old is None or new is None:
            return ()
        if old.kind != new.kind:
            return ("type",)
        differs: list[tuple[Aspect, bool]] = [
            ("content", old.kind == "file" and old.digest != new.digest),
            ("mode", old.executable != new.executable),
            ("target", old.target != new.target),
        ]
        return tuple(aspect for aspect, does in differs if does)


def diff(before: Side, after: Side, paths: Sequence[bytes] = (), *, fold: bool = True) -> list[Change]:
    """What changed, by path, renames found. `paths`: only these entries and what is below them.

    Folders are named where they are empty, where they became something else or the other way round, and, if
    `fold`, where they were renamed as a whole; their files are what counts otherwise. Reads one listing on each
    side for every folder that differs. Errors: ObjectMissing, ObjectCorrupt, ManifestError.
    """
    found = list(changes(before, after, paths))
    if fold:
        found = _with_renamed_folders(found)
    found = [change for change in found if not _says_nothing(change)]
    return sorted(_with_renamed_files(found), key=lambda change: change.path)


def changes(before: Side, after: Side, paths: Sequence[bytes] = ()) -> Iterator[Change]:
    """Every path that differs, as it is met; no renames, and every folder that came or went before what it held.

    A folder that only holds changes is not told. A path whose kind changed is one change, followed by what came
    or went below it.
    """
    if paths:
        for path in _outermost(paths):
            yield from _changes_of(path, entry_at(before, path), entry_at(after, path), before, after)
    else:
        yield from _changes_of(b"", root_entry(before), root_entry(after), before, after)


def _outermost(paths: Iterable[bytes]) -> list[bytes]:
    """Paths without slashes at their ends, and without those below another one, so that none is told twice."""
    clean = sorted({b"/".join(part for part in path.split(b"/") if part not in (b"", b".")) for path in paths})
    return [path for path in clean if not any(is_below(path, other) for other in clean if other != path)]


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path is that of something inside a folder; everything is inside the root."""
    return not folder or path.startswith(folder + b"/")


def _changes_of(path: bytes, old: Entry | None, new: Entry | None, before: Side, after: Side) -> Iterator[Change]:
    if _differ(old, new):
        yield Change(old, new)
    stack = [(path + b"/" if path else b"", _tree_of(old), _tree_of(new))]
    while stack:
        prefix, *trees = stack.pop()
        if trees[0] == trees[1]:
            continue
        deeper = []
        for left, right in _paired(_nodes(before, trees[0]), _nodes(after, trees[1])):
            if left == right:
                continue
            was = None if left is None else entry_of(prefix, left)
            now = None if right is None else entry_of(prefix, right)
            if _differ(was, now):
                yield Change(was, now)
            deeper.append((prefix + _named(left, right) + b"/", _tree_of(was), _tree_of(now)))
        stack += reversed(deeper)


def _differ(old: Entry | None, new: Entry | None) -> bool:
    """Whether the entries themselves differ; two folders do not, whatever is in them."""
    return old != new and not (old is not None and new is not None and old.kind == new.kind == "dir")


def _tree_of(entry: Entry | None) -> bytes | None:
    return bytes.fromhex(entry.digest) if entry is not None and entry.kind == "dir" else None


def _nodes(side: Side, tree: bytes | None) -> list[Node]:
    return [] if tree is None else side.nodes(tree)


def _paired(old: list[Node], new: list[Node]) -> Iterator[tuple[Node | None, Node | None]]:
    lefts = {node.name: node for node in old}
    rights = {node.name: node for node in new}
    for name in sorted(lefts.keys() | rights.keys()):
        yield lefts.get(name), rights.get(name)


def _named(*nodes: Node | None) -> bytes:
    return next(node.name for node in nodes if node is not None)


def _one_of(change: Change) -> Entry:
    entry = change.after or change.before
    # A change of nothing into nothing is none.
    assert entry is not None  # noqa: S101
    return entry


def _says_nothing(change: Change) -> bool:
    """Whether a folder came or went with what is in it, which is told by itself."""
    entry = _one_of(change)
    return change.kind in ("added", "removed") and entry.kind == "dir" and entry.digest != _EMPTY_FOLDER


# ---- renames ---------------------------------------------------------------------------------------------


def _with_renamed_folders(found: list[Change]) -> list[Change]:
    """Each folder that is elsewhere as it was becomes one change, the outermost ones first."""
    pairs = _pairs(change for change in found if _one_of(change).kind == "dir")
    if not pairs:
        return found
    gone: dict[bytes, tuple[Entry, Entry]] = {}
    came: dict[bytes, tuple[Entry, Entry]] = {}
    for old, new in pairs:
        # What is inside a folder that was renamed went along with it.
        if not _covered(old.path, gone) and not _covered(new.path, came):
            gone[old.path] = came[new.path] = (old, new)
    counts: dict[bytes, int] = defaultdict(int)
    left = []
    for change in found:
        covering = _covered(change.path, gone if change.kind == "removed" else came if change.kind == "added" else {})
        if covering is None:
            left.append(change)
        elif change.kind == "added":
            counts[covering[1].path] += _one_of(change).kind != "dir"
    return left + [Change(old, new, counts[new.path]) for old, new in came.values()]


def _covered(path: bytes, renamed: dict[bytes, tuple[Entry, Entry]]) -> tuple[Entry, Entry] | None:
    at = len(path)
    while renamed and at > 0:
        if path[:at] in renamed:
            return renamed[path[:at]]
        at = path.rfind(b"/", 0, at)
    return None


def _with_renamed_files(found: list[Change]) -> list[Change]:
    pairs = _pairs(change for change in found if _one_of(change).kind != "dir")
    told = {("removed", old.path) for old, _ in pairs} | {("added", new.path) for _, new in pairs}
    left = [change for change in found if (change.kind, change.path) not in told]
    return left + [Change(old, new) for old, new in pairs]


def _pairs(found: Iterable[Change]) -> list[tuple[Entry, Entry]]:
    """What went and what came with equal content, each once: first those that kept their last name."""
    gone, came = list[Entry](), list[Entry]()
    for change in found:
        if change.kind in ("added", "removed") and _is_evidence(entry := _one_of(change)):
            (came if change.kind == "added" else gone).append(entry)
    pairs = []
    for key in (_content_and_name, _content_of):
        waiting: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
        for old in sorted(gone, key=_outer_first, reverse=True):
            waiting[key(old)].append(old)
        rest = []
        for new in sorted(came, key=_outer_first):
            if olds := waiting.get(key(new)):
                pairs.append((olds.pop(), new))
            else:
                rest.append(new)
        gone, came = [old for olds in waiting.values() for old in olds], rest
    return sorted(pairs, key=lambda pair: (_outer_first(pair[1]), _outer_first(pair[0])))


def _outer_first(entry: Entry) -> tuple[int, bytes]:
    return entry.path.count(b"/"), entry.path


def _is_evidence(entry: Entry) -> bool:
    return entry.digest != _EMPTY_FOLDER if entry.kind == "dir" else entry.size > 0


def _content_of(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.digest, entry.target


def _content_and_name(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.digest, entry.target, entry.path.rpartition(b"/")[2]
