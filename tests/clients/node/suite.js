"use strict";
// The frame of the Node suite: named checks, a watchdog, the counts.
//
// Owns what one run leaves on the server: everything lies under one root path that no other run has, and is deleted at the end.
// Never sleeps to wait for something: a check waits for a reply, an event or a state, each with WAIT_MS as its limit (session.js).
// How it fails: an exception in a check is that check's `FAIL` line; a hang ends in the watchdog's `FAIL` line. Either way exit 1.
// That it bites shows tests/clients/bite.py.

const crypto = require("crypto");
const { Session, WAIT_MS } = require("./session");

const USAGE = `Check that the unmodified node-zookeeper-client works against a ZooKeeper server.

usage: run.sh [options] host:port[,host:port]
  --super USER:PASSWORD  also check the super user
  --no-extended-types    accepted: this client has no TTL nodes
  --reference-3.8        accepted: makes no difference here
  --timeout SECONDS      the watchdog (default 120)
  --only TEXT            only checks whose name contains TEXT
  --help                 this text`;

// Every registered check: name, function, condition on the options.
const CHECKS = [];

/** Registers a check; its name is the function's, its argument a Context. */
function check(run, condition = () => true) {
    CHECKS.push({ name: run.name, run, condition });
}

/** One check's surroundings: its own path, and clients that are closed when it ends. */
class Context {
    constructor(options, root) {
        this.options = options;
        this.root = root;
        this.sessions = [];
    }

    /** A connected client. `arguments_` are those of Session.open. */
    async client(arguments_ = {}) {
        const session = this.unconnected(arguments_);
        await session.connected();
        return session;
    }

    /** A client that has begun to connect, for one that will be refused. With `onFirst` it knows the first server only. */
    unconnected({ onFirst = false, ...arguments_ } = {}) {
        const hosts = onFirst ? this.options.hosts.split(",")[0] : this.options.hosts;
        const session = Session.open(hosts, arguments_);
        this.sessions.push(session);
        return session;
    }

    /** `root` and what follows it. */
    at(name) {
        return `${this.root}/${name}`;
    }

    async close() {
        for (const session of this.sessions.reverse()) {
            await session.close();
        }
    }
}

/** The command line; ends the program where it is wrong or asks for help. */
function parse(words) {
    const options = { hosts: "", superAuth: "", timeoutS: 120, only: "" };
    const wrong = () => {
        console.error(USAGE);
        process.exit(2);
    };
    for (let i = 0; i < words.length; i += 1) {
        const value = () => (i + 1 < words.length ? words[++i] : wrong());
        switch (words[i]) {
            case "--help":
            case "-h":
                console.log(USAGE);
                process.exit(0);
                break;
            case "--super": options.superAuth = value(); break;
            case "--timeout": options.timeoutS = Number(value()); break;
            case "--only": options.only = value(); break;
            case "--no-extended-types":
            case "--reference-3.8": break;
            default:
                if (words[i].startsWith("-") || options.hosts) wrong();
                options.hosts = words[i];
        }
    }
    if (!options.hosts || !(options.timeoutS > 0)) wrong();
    return options;
}

/** Counts and prints. */
class Report {
    constructor(timeoutS) {
        this.passed = this.failed = 0;
        this.current = "start";
        setTimeout(() => {
            this.record(this.current, `the watchdog ended the run after ${timeoutS} s`);
            process.exit(this.finish());
        }, timeoutS * 1000);
    }

    record(name, reason) {
        if (reason === undefined) {
            this.passed += 1;
            console.log(`ok ${name}`);
        } else {
            this.failed += 1;
            console.log(`FAIL ${name}: ${String(reason).split(/\s+/).join(" ")}`);
        }
    }

    /** Prints the last line; the exit code. */
    finish() {
        console.log(`${this.passed} passed, ${this.failed} failed`);
        return this.failed > 0 || this.passed === 0 ? 1 : 0;
    }
}

/** What a failed check says: the message and where in the checks it stood. */
function reasonOf(error) {
    const place = /checks_\w+\.js:\d+/.exec(error && error.stack);
    return `${error && error.message}${place ? ` (${place[0]})` : ""}`;
}

/** Runs the checks and cleans up; the exit code. */
async function run(options) {
    const report = new Report(options.timeoutS);
    const root = `/node-suite-${crypto.randomBytes(6).toString("hex")}`;
    // The client calls back on its own stack: what a callback throws must not end the run unseen.
    process.on("uncaughtException", (error) => {
        report.record(report.current, `uncaught: ${reasonOf(error)}`);
        process.exit(report.finish());
    });
    for (const { name, run: body, condition } of CHECKS) {
        if (!name.includes(options.only) || !condition(options)) continue;
        report.current = name;
        const context = new Context(options, `${root}/${name}`);
        try {
            await (await context.client()).makePath(context.root);
            await body(context);
            report.record(name);
        } catch (error) {
            report.record(name, reasonOf(error));
        }
        await context.close();
    }
    await cleanUp(report, new Context(options, root));
    return report.finish();
}

async function cleanUp(report, context) {
    report.current = "cleanup";
    try {
        const session = await context.client({ auth: "owner:secret" });
        await session.removeTree(context.root);
    } catch (error) {
        // What a failed check left behind is not a finding of its own.
        console.error(`# cleanup: ${reasonOf(error)}`);
    }
    await context.close();
}

module.exports = { check, parse, run, WAIT_MS };
