"""The inner nodes of the tree over all events, so that a proof reads a few rows and not every leaf.

A node is kept once its subtree is complete, and from height 4 on: below it, 16 leaves are read and hashed
again, which costs as little and makes the table 8 times smaller (6 bytes an event). It is filled when a proof
or a checkpoint is asked for (`history`), not with the other read models.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from onrecord.ledger.schema import PROJECTION_VERSIONS

NAME = "tree"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("tree",)
SCHEMA = """
CREATE TABLE tree(
    id INTEGER PRIMARY KEY,               -- 64 * seq of the last event under the node + the node's height
    hash BLOB NOT NULL                    -- 32 bytes, RFC 6962
) STRICT;
"""
LOWEST = 4

Made = Iterable[tuple[int, int, list[bytes]]]


def key(height: int, index: int) -> int:
    """The id of the node `index` (from 0) at a height."""
    return (index + 1 << height) * 64 + height


def rows(made: Made) -> list[tuple[int, bytes]]:
    """(id, hash) of those nodes that are kept, of what `Frontier.extend` made."""
    return [
        ((first + place + 1 << height) * 64 + height, node)
        for height, first, nodes in made
        if height >= LOWEST
        for place, node in enumerate(nodes)
    ]


def store(connection: sqlite3.Connection, nodes: Iterable[tuple[int, bytes]], seq: int) -> None:
    """Keep nodes and the position after them; what another process has kept meanwhile stays."""
    connection.executemany("INSERT OR IGNORE INTO tree VALUES (?, ?)", nodes)
    connection.execute("UPDATE projections SET seq = max(seq, ?) WHERE name = ?", (seq, NAME))
