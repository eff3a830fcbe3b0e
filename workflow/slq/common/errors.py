"""The exception that commands and jobs print as a message and turn into a non-zero exit status."""


class SlqError(Exception):
    """An error that the user can fix: its message names the file or key, what was expected, and what to do."""

    status = 1  # exit status of the process


class TextError(SlqError):
    """A text that a model cannot take; who knows the item that it belongs to adds that to the message."""

    def __init__(self, message: str, text: str = "") -> None:
        """Create an error about a text."""
        super().__init__(message)
        self.text = text


class VerificationError(SlqError):
    """Fetched data that fails its check: it is not kept, as resuming from it would fail again."""


class SchemaError(SlqError):
    """A stored file has another schema than this version reads."""
