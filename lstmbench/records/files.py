"""Files that others made: only regular ones are read, and only up to a size.

A folder of results may come from a stranger, and ``git`` carries links: to ``/dev/zero``, which
never ends, or to a pipe, which never begins.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from lstmbench.errors import UserError

#: Bytes of one record, at most: the longest protocol's takes about half of it.
MAX_RECORD_BYTES = 16 * 2**20
#: Bytes of any other file, such as a plan, a manifest or a table of a large store.
MAX_FILE_BYTES = 256 * 2**20
#: Characters of a path in a message.
_SHOWN = 200


def read_regular(path: Path, limit: int = MAX_RECORD_BYTES) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; links are followed.

    Raises :class:`OSError`, whose ``strerror`` says why, for anything else.
    """
    _check_regular(path.stat(), limit)  # first, since opening some devices does something
    # what it is may have changed meanwhile; opening a pipe would wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check_regular(os.fstat(descriptor), limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(limit)
    return content


def _check_regular(found: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    if found.st_size > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> OSError:
    return OSError(errno.EFBIG, f"Larger than {limit // 2**20} MiB")


def look_at(path: Path) -> os.stat_result | None:
    """What is at ``path``, links followed; ``None`` if there is nothing.

    Raises :class:`UserError` where the system does not say, as of a name that is too long, or of
    what lies in a folder that may not be read.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(unreadable(path, error)) from error


def is_file(path: Path) -> bool:
    """As :meth:`Path.is_file`; raises as :func:`look_at` does."""
    found = look_at(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def exists(path: Path) -> bool:
    """As :meth:`Path.exists`; raises as :func:`look_at` does."""
    return look_at(path) is not None


def list_folder(folder: Path) -> list[Path]:
    """What a folder holds, in order of name; nothing if there is no such folder.

    Raises :class:`UserError` for one that may not be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(folder / entry.name for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(unreadable(folder, error)) from error


def unreadable(path: Path, error: Exception) -> str:
    """A line that names a path and says what the system says."""
    shown = str(path)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return f"{shown}: {getattr(error, 'strerror', None) or error}"
