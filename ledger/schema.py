"""What marks a file as a ledger, and the newest schema and read models this onrecord knows."""

APPLICATION_ID = 0x4F4E5245  # "ONRE"
VERSION = 1
TRIGGERS = frozenset({"events_are_never_deleted", "events_are_never_changed", "events_have_no_gaps"})

# By name; here and not in the read models' own modules, so that opening a ledger imports none of them. A ledger
# with others has them dropped and made again from the events.
PROJECTION_VERSIONS = {
    "runs": 5,
    "attributes": 3,
    "params": 2,
    "files": 4,
    "metrics": 3,
    "resources": 1,
    "families": 1,
    "descriptions": 1,
    "experiments": 1,
    "search": 2,
    "views": 2,
    "tree": 1,
}
# Those that do not catch up when they are read: the table of runs is never behind, the tree only wanted for proofs.
NOT_LAZY = ("runs", "tree")
