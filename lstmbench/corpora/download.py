"""``python -m lstmbench.corpora.download PATH DIGEST URL``

Puts the file into its place once it is verified, out of the archive that ``URL`` names, if it does;
why that failed is a line on standard error.
``DIGEST`` is ``sha256:`` or ``md5:`` and hexadecimal digits, or ``git:`` and the name that git
gives to the content.

A process of its own, because only a process can be ended when a name server or a peer hangs.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pooch

from lstmbench.corpora.files import ARCHIVE, MAX_BYTES, digest_of


def unpack(file: Path, member: str) -> None:
    """Put a member of an archive in the archive's place."""
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(member).file_size > MAX_BYTES:
            raise ValueError(f"{member} has over {MAX_BYTES:,} bytes")
        content = archive.read(member)
    file.write_bytes(content)


def main(place: str, digest: str, url: str) -> int:
    """0 once the verified file is at ``place``, else 1."""
    pooch.get_logger().setLevel("CRITICAL")
    path, download = Path(place), pooch.HTTPDownloader(timeout=4)

    def verified(url: str, output_file: str, pup: Any) -> None:
        download(url, output_file, pup)
        if url.endswith(ARCHIVE):
            unpack(Path(output_file), path.name)
        found = digest_of(Path(output_file).read_bytes(), digest.partition(":")[0])
        if found != digest:  # raised before anything is moved to its place
            raise ValueError(f"its digest is {found}, expected {digest}")

    try:
        # pooch knows no digests of git, so that its own check is left out
        pooch.retrieve(url, None, fname=path.name, path=path.parent, downloader=verified)
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        print(f"{url}: {what}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
