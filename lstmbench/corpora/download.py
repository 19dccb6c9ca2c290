"""``python -m lstmbench.corpora.download FOLDER FILENAME DIGEST URL...``

Takes the first URL that serves the file. ``DIGEST`` is ``sha256:`` or ``md5:`` and hexadecimal
digits, or ``git:`` and the name that git gives to the content.

A process of its own, because only a process can be ended when a name server or a peer hangs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pooch

from lstmbench.corpora.files import digest_of


def main(folder: str, filename: str, digest: str, *urls: str) -> int:
    """0 once the verified file is in ``folder``, else 1."""
    pooch.get_logger().setLevel("CRITICAL")
    download = pooch.HTTPDownloader(timeout=4)

    def verified(url: str, output_file: str, pup: Any) -> None:
        download(url, output_file, pup)
        found = digest_of(Path(output_file).read_bytes(), digest.partition(":")[0])
        if found != digest:  # raised before anything is moved to its place
            raise ValueError(f"{found}, expected {digest}")

    for url in urls:
        try:
            # pooch knows no digests of git, so that its own check is left out
            pooch.retrieve(url, None, fname=filename, path=folder, downloader=verified)
            return 0
        except Exception as error:  # whatever goes wrong, the next place may serve it
            print(f"{url}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
