"""``python -m lstmbench`` is ``lstmbench``."""

import sys


def main() -> None:
    """Entry point of ``lstmbench``."""
    try:
        from lstmbench.cli import main as run
    except KeyboardInterrupt:  # so early that nothing could be lost
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
