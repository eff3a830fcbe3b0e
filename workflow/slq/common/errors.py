"""The exception that commands and jobs print as a message and turn into a non-zero exit status."""


class SlqError(Exception):
    """An error that the user can fix: its message names the file or key, what was expected, and what to do."""

    status = 1  # exit status of the process

    def __init__(self, message: str) -> None:
        """Put the message into one line, whatever a library, or the name of a file, brings into it."""
        super().__init__(" ".join(message.splitlines()))


class VerificationError(SlqError):
    """Fetched data that fails its check: it is not kept, as resuming from it would fail again."""
