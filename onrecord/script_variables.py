"""Environment variables that tell a script its run (the workspace's is in `workspace`)."""

RUN_ID = "ONRECORD_RUN_ID"
ATTEMPT = "ONRECORD_ATTEMPT"
EXPERIMENT = "ONRECORD_EXPERIMENT"
# The folder with the outputs of the run that this one goes on from; and Azure ML's name for it.
RESUME_FROM = "ONRECORD_RESUME_FROM"
DATA_REFERENCE = "AZUREML_DATAREFERENCE_MODEL_LOCATION"
