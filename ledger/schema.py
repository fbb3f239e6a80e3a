"""What marks a file as a ledger, and the newest schema this onrecord knows."""

APPLICATION_ID = 0x4F4E5245  # "ONRE"
VERSION = 1
TRIGGERS = frozenset({"events_are_never_deleted", "events_are_never_changed", "events_have_no_gaps"})
