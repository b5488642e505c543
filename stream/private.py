"""Files that hold personal data: for this user alone, whatever the umask says."""

import contextlib
import os
from pathlib import Path


def make(file: Path) -> None:
    """Makes the file, empty and 0600, and its folder, 0700, where they are not there yet; what is there stays as it is.
    Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Never opened where it exists: closing it again would drop the locks that SQLite holds on it in this process.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
