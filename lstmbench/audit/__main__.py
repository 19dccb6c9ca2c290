"""``python -m lstmbench.audit REQUESTS REPLIES``: the process that audits."""

import sys

from lstmbench.audit.session import AuditSession
from lstmbench.worker.loop import main

if __name__ == "__main__":
    main(sys.argv[1:], AuditSession())
