"use strict";
// The Node suite's entry: loads every group of checks and runs them. See `run.sh --help`.

const suite = require("./suite");

require("./checks_nodes");
require("./checks_acls");
require("./checks_txns");
require("./checks_watches");
require("./checks_sessions");

suite.run(suite.parse(process.argv.slice(2))).then((code) => process.exit(code));
