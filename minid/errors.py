"""The error tree: one class per person who must act, each with its own exit code.

A message is worded `where: expected, got`, in lower case, with values quoted; `hint` is the next
action. Only the command line (and later the daemon's run loop) catches these.
"""

from __future__ import annotations

from collections.abc import Sequence


class MinidError(Exception):
    """Base of everything minid raises on purpose.

    `exit_code` is the process's status, `retryable` says whether the same call can succeed later
    without anybody changing anything. `log_tail` holds the last lines of the log, if there is one.
    """

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str = "", log_tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log_tail = tuple(log_tail)

    def as_json(self) -> dict[str, object]:
        """The error as JSON values; see docs/reference/errors.md."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "retryable": self.retryable,
            "log_tail": list(self.log_tail),
        }


class UsageError(MinidError):
    """The command line asked for something that does not exist."""

    exit_code = 2


class NoDaemonError(MinidError):
    """A command that only the service can answer, and no service runs. The status is systemctl's
    for what does not run."""

    exit_code = 3
    retryable = True


class ConfigError(MinidError):
    """config.toml is wrong: the operator mends it."""

    exit_code = 10


class RecipeError(MinidError):
    """A recipe is wrong: its author mends it."""

    exit_code = 11


class FetchError(MinidError):
    """No source of an archive gave its bytes."""

    exit_code = 12
    retryable = True


class DigestMismatchError(FetchError):
    """Bytes were fetched whole and are not the ones the recipe names."""

    exit_code = 13
    retryable = False


class UnpackError(MinidError):
    """An archive is damaged or hostile."""

    exit_code = 14


class BuildError(MinidError):
    """A build step failed or ran into a limit."""

    exit_code = 20


class ClosureError(MinidError):
    """A program needs a library or an interpreter that nothing provides."""

    exit_code = 21


class ComposeError(MinidError):
    """The root file system cannot be laid: an edit does not match, a file is in the way."""

    exit_code = 22


class ImageError(MinidError):
    """The image breaks a rule: over budget, or metadata that engines refuse."""

    exit_code = 23


class CheckError(MinidError):
    """The image was built and did not do what its recipe promises."""

    exit_code = 24


class PublishError(MinidError):
    """A target refused the image."""

    exit_code = 25
    retryable = True


class StoreError(MinidError):
    """The store is locked, damaged, or from another version."""

    exit_code = 26


class LintError(MinidError):
    """An image would not run as it is, or has something in it that should not be there."""

    exit_code = 27


class SignatureError(MinidError):
    """No key that was named signed exactly these bytes."""

    exit_code = 28


class HostError(MinidError):
    """The machine lacks something: a program, a permission, room on a disk."""

    exit_code = 30
