"""What the command's exit code says."""

OK = 0
PROBLEM = 1  # what was asked for failed; `verify` found something wrong; a receipt or proof does not hold
DIFFERENT = 1  # `diff`: something differs
USAGE = 2  # the command line cannot be understood, or a file that it names to be read is not there
TROUBLE = 2  # `diff`: it could not be compared, as diff(1) says it
TIME_LIMIT = 124  # `run`: the run was ended by its time limit, as timeout(1) says it
BEFORE_THE_SCRIPT = 125  # `run`: the script was not started, so no code of its own can be meant
SIGNALED = 128  # `run`: plus the number of the signal that killed the script
CANCELED = 130  # `run`: the run was canceled; also Ctrl-C anywhere
