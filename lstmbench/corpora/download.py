"""``python -m lstmbench.corpora.download FOLDER FILENAME SHA256 URL...``

Takes the first URL that serves the file; why another did not is a line on standard error.

A process of its own, because only a process can be ended when a name server or a peer hangs.
"""

from __future__ import annotations

import sys

import pooch


def main(folder: str, filename: str, sha256: str, *urls: str) -> int:
    """0 once the verified file is in ``folder``, else 1."""
    pooch.get_logger().setLevel("CRITICAL")
    for url in urls:
        try:
            downloader = pooch.HTTPDownloader(timeout=4)
            pooch.retrieve(
                url, f"sha256:{sha256}", fname=filename, path=folder, downloader=downloader
            )
            return 0
        except Exception as error:  # whatever goes wrong, the next place may serve it
            what = " ".join(str(error).split()) or type(error).__name__
            print(f"{url}: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
