"""The executor of this machine keeps the contract."""

from __future__ import annotations

from contract import ExecutorContract

from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Executor


class TestLocalExecutor(ExecutorContract):
    def make_executor(self) -> Executor:
        return LocalExecutor()
