"""The kazoo suite's entry: loads every group of checks and runs them. See `run.sh --help`."""

import logging
import sys

import checks_acls  # noqa: F401
import checks_load  # noqa: F401
import checks_nodes  # noqa: F401
import checks_recipes  # noqa: F401
import checks_sessions  # noqa: F401
import checks_txns  # noqa: F401
import checks_watches  # noqa: F401
import suite

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # kazoo reports the connections that the checks cut on purpose
    sys.exit(suite.run(suite.parse(sys.argv[1:])))
