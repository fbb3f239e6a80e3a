"""Azure ML's name for what onrecord has, in a process that asked for it: see `onrecord.azureml`."""

try:
    from onrecord.azureml.modules import find
except ImportError as problem:
    raise ImportError(
        f"{problem}: the run asks for Azure ML's modules, which onrecord stands in for, but this Python has no onrecord"
        " (next: pip install onrecord, or run the script in an environment that has it)"
    ) from problem

# Modules below this one are made by a finder, not read from a folder.
__path__ = []
find()
