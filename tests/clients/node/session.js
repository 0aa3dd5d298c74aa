"use strict";
// One client of node-zookeeper-client, with promises in place of callbacks and a log of what it was told.
//
// The library decodes frames in the wire's order on one thread. It forgets a one-shot watch by itself, so a second event would not
// show in its callbacks; the log is therefore kept where the library hands on decoded events (a private name; the version is pinned).

const assert = require("assert");
const zookeeper = require("node-zookeeper-client");

// The longest that a check waits for one thing. Only reached on failure.
const WAIT_MS = 20000;
// What sessions ask for unless a check says otherwise.
const TIMEOUT_MS = 15000;
// A server that refuses: where a banished client looks.
const NOWHERE = [{ host: "127.0.0.1", port: 1 }];

const EVENTS = { 1: "created", 2: "deleted", 3: "changed", 4: "child" };

/** `promise`, or an error that says what did not come. */
function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${WAIT_MS} ms for ${what}`)), WAIT_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A Stat with numbers; what is 64 bits wide is a BigInt. */
function plainStat(stat) {
    const long = (bytes) => bytes.readBigInt64BE();
    return {
        czxid: long(stat.czxid),
        mzxid: long(stat.mzxid),
        pzxid: long(stat.pzxid),
        ctime: long(stat.ctime),
        mtime: long(stat.mtime),
        ephemeralOwner: long(stat.ephemeralOwner),
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        dataLength: stat.dataLength,
        numChildren: stat.numChildren,
    };
}

class Session {
    /** A client that begins to connect. `timeoutMs`, `auth` (digest), `chroot`, and `of`: another session, to take it over. */
    static open(hosts, { timeoutMs = TIMEOUT_MS, auth, chroot = "", of } = {}) {
        const options = { sessionTimeout: timeoutMs, spinDelay: 50 };
        if (of) {
            options.sessionId = of.id;
            options.sessionPassword = of.password;
        }
        const session = new Session(zookeeper.createClient(hosts + chroot, options));
        if (auth) session.client.addAuthInfo("digest", Buffer.from(auth));
        session.client.connect();
        return session;
    }

    constructor(client) {
        this.client = client;
        // Events as "changed /path", in the order in which they came.
        this.log = [];
        // How many there were when the last reply came. What awaits a reply runs later, when more may have come.
        this.toldBefore = 0;
        this.states = [];
        this.waiting = new Set();
        const watchers = client.connectionManager.watcherManager;
        const deliver = watchers.emit.bind(watchers);
        watchers.emit = (event) => {
            this.note(`${EVENTS[event.type] || event.type} ${event.path}`);
            deliver(event);
        };
        client.on("state", (state) => {
            this.states.push(state.getName());
            this.wake();
        });
    }

    note(entry) {
        this.log.push(entry);
        this.wake();
    }

    wake() {
        for (const look of this.waiting) look();
    }

    /** Waits until `holds()`, asked after each event and state. */
    until(holds, what) {
        let look;
        const reached = new Promise((resolve) => {
            look = () => holds() && resolve();
            this.waiting.add(look);
            look();
        });
        return within(reached, `${what}; log ${this.log.slice(-20)}; states ${this.states}`).finally(() => this.waiting.delete(look));
    }

    /** Waits for the next state of that name after the first `seen` ones. */
    state(name, seen = 0) {
        return this.until(() => this.states.indexOf(name, seen) >= 0, `the state ${name}`);
    }

    connected() {
        return this.until(() => this.states[this.states.length - 1] === "SYNC_CONNECTED", "the connection");
    }

    /** The log once it has `count` entries. */
    async entries(count) {
        await this.until(() => this.log.length >= count, `${count} log entries`);
        return this.log;
    }

    get id() {
        return this.client.getSessionId();
    }

    get idNumber() {
        return this.id.readBigInt64BE();
    }

    get password() {
        return this.client.getSessionPassword();
    }

    /** The results of a call whose last argument is a callback. */
    ask(name, ...words) {
        const asked = new Promise((resolve, reject) => {
            this.client[name](...words, (error, ...results) => {
                this.toldBefore = this.log.length;
                return error ? reject(error) : resolve(results);
            });
        });
        return within(asked, `the reply of ${name} ${words[0]}`);
    }

    /** Creates a node; `data` null stands for none. The path that it got. */
    async create(path, data = Buffer.alloc(0), { acl = zookeeper.ACL.OPEN_ACL_UNSAFE, mode = zookeeper.CreateMode.PERSISTENT } = {}) {
        return (await this.ask("create", path, data === null ? undefined : Buffer.from(data), acl, mode))[0];
    }

    /** `{ data, stat }`; data is undefined where the node has none. */
    async get(path, watch) {
        const [data, stat] = await this.ask("getData", path, ...(watch ? [watch] : []));
        return { data, stat: plainStat(stat) };
    }

    async set(path, data, version = -1) {
        return plainStat((await this.ask("setData", path, Buffer.from(data), version))[0]);
    }

    /** The Stat, or null. */
    async exists(path, watch) {
        const [stat] = await this.ask("exists", path, ...(watch ? [watch] : []));
        return stat && plainStat(stat);
    }

    /** `{ names, stat }`, the names sorted. */
    async children(path, watch) {
        const [names, stat] = await this.ask("getChildren", path, ...(watch ? [watch] : []));
        return { names: names.sort(), stat: plainStat(stat) };
    }

    remove(path, version = -1) {
        return this.ask("remove", path, version);
    }

    async acl(path) {
        const [acls, stat] = await this.ask("getACL", path);
        return { acls: acls.map((acl) => [acl.permission, acl.id.scheme, acl.id.id]), stat: plainStat(stat) };
    }

    async setAcl(path, acls, version = -1) {
        return plainStat((await this.ask("setACL", path, acls, version))[0]);
    }

    /** `{ error, results }` of a multi: both come where an operation fails. */
    commit(transaction) {
        const asked = new Promise((resolve) => transaction.commit((error, results) => resolve({ error, results })));
        return within(asked, "the reply of a transaction");
    }

    makePath(path) {
        return this.ask("mkdirp", path);
    }

    /** A write of the session's own and its reply: what the server sent before is in the log afterwards. */
    async settle(path) {
        await this.ask("setData", path, Buffer.alloc(0), 2147483647).catch((error) => assert.equal(error.getName(), "BAD_VERSION"));
    }

    /** The children's paths; none where they may not be listed. */
    async pathsBelow(parent) {
        const refused = (error) => (error.getName && error.getName() === "NO_AUTH" ? { names: [] } : Promise.reject(error));
        return (await this.children(parent).catch(refused)).names.map((name) => `${parent}/${name}`);
    }

    /** Deletes a path and what lies below it, level by level. */
    async removeTree(path) {
        const levels = [[path]];
        while (levels[levels.length - 1].length > 0) {
            const below = await Promise.all(levels[levels.length - 1].map((parent) => this.pathsBelow(parent)));
            levels.push(below.flat());
        }
        for (const level of levels.reverse()) {
            await Promise.all(level.map((one) => this.remove(one)));
        }
    }

    /** Cuts the socket as a broken network would; the library connects again. */
    cut() {
        this.client.connectionManager.socket.destroy();
    }

    /** Cuts the socket and lets the library look for its server in the wrong place until `comeBack`. */
    banish() {
        const manager = this.client.connectionManager;
        this.servers = manager.servers;
        manager.servers = NOWHERE;
        this.cut();
    }

    comeBack() {
        this.client.connectionManager.servers = this.servers;
    }

    /** Ends the session and waits for the connection's end; one without a connection is left to expire. */
    async close() {
        const connected = this.client.getState() === zookeeper.State.SYNC_CONNECTED;
        const seen = this.states.length;
        this.client.removeAllListeners("expired");
        this.client.connectionManager.servers = NOWHERE;
        this.client.close();
        if (connected) await this.state("DISCONNECTED", seen).catch(() => this.cut());
    }
}

/** Expects the call to fail with that exception's name. */
async function refuses(name, promise) {
    const error = await promise.then(
        (result) => assert.fail(`expected ${name}, got ${JSON.stringify(result, (_, v) => (typeof v === "bigint" ? `${v}` : v))}`),
        (reason) => reason,
    );
    if (!error.getName) throw error;
    assert.equal(error.getName(), name);
}

module.exports = { Session, WAIT_MS, refuses };
