"""What can go wrong with containers before a script is started, each with its values as attributes."""

from __future__ import annotations

from onrecord.executors.errors import ExecutorError


class NoContainerEngine(ExecutorError):
    """There is neither podman nor docker, or not the one that is asked for: `wanted`, "" for either."""

    @classmethod
    def of(cls, wanted: str, why: str) -> NoContainerEngine:
        """The error; `wanted` is a name or a path."""
        return cls(
            "there is no container engine to run an image with",
            why=why,
            next_step="apt-get install podman   (or docker.io; ONRECORD_CONTAINER_ENGINE=docker chooses one)",
            wanted=wanted,
        )


class EngineFailed(ExecutorError):
    """The engine could not be asked: `engine`, `said`."""

    @classmethod
    def because(cls, engine: str, what: str, said: str) -> EngineFailed:
        """The error; `said` is what the engine printed."""
        return cls(
            f"{engine} cannot {what}", why=said, next_step=f"{engine} info   (says whether it works at all)",
            engine=engine, said=said,
        )  # fmt: skip


class ImageUnavailable(ExecutorError):
    """An image is not on this machine and cannot be pulled: `image`, and `details`, what the engine printed."""


class ImageUnfit(ExecutorError):
    """An image that the script cannot be started in: `image`."""
