"""Azure ML's names for a process that onrecord started with them; see `onrecord.azureml`."""

try:
    from onrecord.azureml.finder import take_the_place_of
except ImportError as problem:
    raise ImportError(
        f"this Python has no onrecord, which stands in for azureml: {problem}\n"
        "  next: install onrecord in the environment of the run, or leave compat away",
        name="azureml",
    ) from None

take_the_place_of(__name__)
