"""Environment variables that tell a script its run (the workspace's is in `workspace`)."""

RUN_ID = "ONRECORD_RUN_ID"
EXPERIMENT = "ONRECORD_EXPERIMENT"
# The open run of an interactive process, and its workspace's folder: `RUN_ID:FOLDER`. For the processes that it starts.
INTERACTIVE_RUN = "ONRECORD_INTERACTIVE_RUN"
