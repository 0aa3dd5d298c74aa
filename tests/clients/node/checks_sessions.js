"use strict";
// Sessions: negotiated, resumed with id and password, refused with a wrong one, expired, reconnected, and setWatches.

const assert = require("assert");
const { CreateMode } = require("node-zookeeper-client");
const { check } = require("./suite");

const SHORT_MS = 4000; // the server may raise it
const EPHEMERAL = { mode: CreateMode.EPHEMERAL };
const WATCH = () => {};

check(async function session_ids_and_passwords(context) {
    const clients = await Promise.all(Array.from({ length: 8 }, () => context.client()));
    assert.equal(new Set(clients.map((client) => client.idNumber)).size, 8);
    assert.ok(clients.every((client) => client.idNumber !== 0n && client.password.some((byte) => byte !== 0)));
});

check(async function session_timeout_is_negotiated(context) {
    const asked = async (timeoutMs) => (await context.client({ timeoutMs })).client.getSessionTimeout();
    const [least, most] = [await asked(1), await asked(1000000000)];
    assert.equal(await asked(least + 1), least + 1);
    assert.equal(most, 10 * least, "2 ticks and 20");
});

check(async function session_is_taken_over_with_its_password(context) {
    const [first, observer] = [await context.client({ onFirst: true }), await context.client()];
    await first.create(context.at("e"), "", EPHEMERAL);
    first.client.connectionManager.servers = [{ host: "127.0.0.1", port: 1 }]; // where it will look once it is cut off
    const second = await context.client({ of: first, onFirst: true }); // at another server the former connection would stay until it asks
    assert.deepEqual([second.id, second.password], [first.id, first.password]);
    await first.state("DISCONNECTED");
    assert.equal((await second.exists(context.at("e"))).ephemeralOwner, second.idNumber);
    await second.close();
    await observer.settle(context.root);
    assert.equal(await observer.exists(context.at("e")), null);
});

check(async function session_with_a_wrong_password_is_refused(context) {
    const owner = await context.client();
    await owner.create(context.at("e"), "", EPHEMERAL);
    const password = owner.password.map((byte) => byte ^ 0xff);
    const thief = context.unconnected({ of: { id: owner.id, password } });
    await thief.state("EXPIRED");
    // ZooKeeper closes the owner's connection too, before it looks at the password; the session stays.
    const observer = await context.client();
    await observer.settle(context.root);
    assert.equal((await observer.exists(context.at("e"))).ephemeralOwner, owner.idNumber);
});

check(async function session_that_was_closed_is_refused(context) {
    const closed = await context.client();
    const { id, password } = closed;
    await closed.close();
    await context.unconnected({ of: { id, password } }).state("EXPIRED");
});

check(async function session_outlives_its_connection(context) {
    const client = await context.client();
    await client.create(context.at("e"), "", EPHEMERAL);
    const id = client.idNumber;
    for (let i = 0; i < 3; i += 1) {
        const seen = client.states.length;
        client.cut();
        await client.state("DISCONNECTED", seen);
        // Asked without a connection: the library sends it after the handshake.
        assert.equal((await client.exists(context.at("e"))).ephemeralOwner, id);
        assert.equal(client.idNumber, id);
    }
});

check(async function session_reconnect_tells_what_was_missed(context) {
    const [client, writer] = [await context.client(), await context.client()];
    for (const name of ["data", "gone", "parent", "quiet"]) await writer.create(context.at(name));
    await client.settle(context.root);
    await client.get(context.at("data"), WATCH);
    await client.get(context.at("gone"), WATCH);
    await client.get(context.at("quiet"), WATCH);
    await client.exists(context.at("made"), WATCH);
    await client.children(context.at("parent"), WATCH);
    client.banish();
    await client.state("DISCONNECTED");
    await writer.set(context.at("data"), "x");
    await writer.remove(context.at("gone"));
    await writer.create(context.at("made"));
    await writer.create(context.at("parent/c"));
    assert.deepEqual(client.log, []);
    client.comeBack();
    const wanted = [`changed ${context.at("data")}`, `deleted ${context.at("gone")}`, `created ${context.at("made")}`, `child ${context.at("parent")}`];
    await client.entries(4);
    await client.settle(context.root);
    assert.deepEqual([...client.log].sort(), wanted.sort());
    await writer.set(context.at("quiet"), "x");
    assert.equal((await client.entries(5))[4], `changed ${context.at("quiet")}`, "a watch that missed nothing is armed again");
});

check(async function session_expires_and_one_that_pings_does_not(context) {
    const open = () => context.client({ timeoutMs: SHORT_MS });
    const [idle, doomed, observer] = [await open(), await open(), await context.client()];
    await idle.create(context.at("idle"), "", EPHEMERAL);
    await doomed.create(context.at("doomed"), "", EPHEMERAL);
    await observer.settle(context.root);
    await observer.exists(context.at("doomed"), WATCH);
    const heard = Date.now();
    await doomed.exists(context.at("doomed"));
    doomed.banish();
    assert.deepEqual(await observer.entries(1), [`deleted ${context.at("doomed")}`]);
    const elapsed = Date.now() - heard;
    assert.ok(elapsed >= doomed.client.getSessionTimeout() * 0.9, `expired after ${elapsed} ms`);
    assert.deepEqual((await observer.children(context.root)).names, ["idle"]);
    doomed.comeBack();
    await doomed.state("EXPIRED");
    assert.deepEqual(idle.states, ["SYNC_CONNECTED"]);
});
