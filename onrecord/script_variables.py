"""Environment variables that tell a script its run (the workspace's is in `workspace`)."""

RUN_ID = "ONRECORD_RUN_ID"
EXPERIMENT = "ONRECORD_EXPERIMENT"
