"""``python -m lstmbench.worker REQUESTS REPLIES``: the process of one trial."""

import sys

from lstmbench.worker.loop import main
from lstmbench.worker.session import TrialSession

if __name__ == "__main__":
    main(sys.argv[1:], TrialSession())
