"""``python -m lstmbench.worker COMMANDS ANSWERS``: the process of one trial."""

import sys

from lstmbench.worker.loop import main
from lstmbench.worker.session import Session

if __name__ == "__main__":
    main(sys.argv[1:], Session())
