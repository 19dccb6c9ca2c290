"""``python -m lstmbench`` is ``lstmbench``."""

from lstmbench.cli import main

if __name__ == "__main__":
    main()
