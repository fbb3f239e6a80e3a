"""What kinds of runs there are, as their events spell them."""

# Submitted, and started by a conductor.
SCRIPT = "onrecord.script"
# A process that was there before: it records itself, and whoever started it ends it.
INTERACTIVE = "onrecord.interactive"
