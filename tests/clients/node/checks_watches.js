"use strict";
// Watches: what fires, once, in order, and before the replies that show it.

const assert = require("assert");
const { ACL, CreateMode } = require("node-zookeeper-client");
const { check } = require("./suite");

// A watch whose event is read off the session's log.
const WATCH = () => {};

/** A client, another one that writes, and the root of what is watched. They may be at different servers: what the one has written the other sees once it has settled. */
async function pair(context) {
    return [await context.client(), await context.client()];
}

check(async function watch_of_data(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"));
    await client.settle(context.root);
    const given = [];
    await client.get(context.at("n"), (event) => given.push(`${event.getName()} ${event.getPath()}`));
    await writer.set(context.at("n"), "x");
    assert.deepEqual(await client.entries(1), [`changed ${context.at("n")}`]);
    assert.deepEqual(given, [`NODE_DATA_CHANGED ${context.at("n")}`]);
    await client.get(context.at("n"), WATCH);
    await writer.remove(context.at("n"));
    assert.equal((await client.entries(2))[1], `deleted ${context.at("n")}`);
});

check(async function watch_of_exists(context) {
    const [client, writer] = await pair(context);
    assert.equal(await client.exists(context.at("n"), WATCH), null);
    await writer.create(context.at("n"));
    await client.entries(1);
    await client.exists(context.at("n"), WATCH);
    await writer.set(context.at("n"), "x");
    await client.entries(2);
    await client.exists(context.at("n"), WATCH);
    await writer.remove(context.at("n"));
    assert.deepEqual(await client.entries(3), ["created", "changed", "deleted"].map((kind) => `${kind} ${context.at("n")}`));
});

check(async function watch_of_children(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"));
    await client.settle(context.root);
    for (const change of [() => writer.create(context.at("n/c")), () => writer.remove(context.at("n/c")), () => writer.remove(context.at("n"))]) {
        const seen = client.log.length;
        await client.children(context.at("n"), WATCH);
        await change();
        await client.entries(seen + 1);
    }
    assert.deepEqual(client.log, ["child", "child", "deleted"].map((kind) => `${kind} ${context.at("n")}`));
});

check(async function watch_fires_once(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"));
    await client.settle(context.root);
    await client.get(context.at("n"), WATCH);
    await client.exists(context.at("n"), WATCH);
    for (let i = 0; i < 3; i += 1) await writer.set(context.at("n"), `${i}`);
    await client.settle(context.root);
    assert.equal((await client.get(context.at("n"))).data.toString(), "2");
    assert.deepEqual(client.log, [`changed ${context.at("n")}`]);
});

check(async function watch_that_has_nothing_to_tell(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"));
    await writer.create(context.at("n/c"));
    await client.settle(context.root);
    await client.children(context.at("n"), WATCH);
    await client.get(context.at("n/c"), WATCH);
    await client.get(context.at("none"), WATCH).catch(() => {});
    await writer.set(context.at("n"), "data");
    await writer.create(context.at("n/c/grandchild"));
    await writer.create(context.at("none"));
    await writer.set(context.at("n/c"), "", 7).catch(() => {});
    await writer.setAcl(context.at("n/c"), ACL.OPEN_ACL_UNSAFE);
    await client.settle(context.root);
    assert.deepEqual(client.log, []);
});

check(async function watch_tells_before_its_own_writes_reply(context) {
    const client = await context.client();
    await client.create(context.at("n"));
    await client.get(context.at("n"), WATCH);
    await client.set(context.at("n"), "x");
    assert.equal(client.toldBefore, 1, `events before the reply; log ${client.log}`);
    assert.deepEqual(client.log, [`changed ${context.at("n")}`]);
});

check(async function watch_tells_before_a_read_shows_the_change(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"), "0");
    await client.settle(context.root);
    for (let i = 1; i <= 50; i += 1) {
        await client.get(context.at("n"), WATCH);
        const seen = client.log.length;
        const write = writer.set(context.at("n"), `${i}`);
        while ((await client.get(context.at("n"))).data.toString() !== `${i}`) {
            // Asked again: each read is a round trip.
        }
        assert.equal(client.toldBefore, seen + 1, `events when round ${i} showed`);
        await write;
    }
});

check(async function watch_events_come_in_the_order_of_the_changes(context) {
    const [client, writer] = await pair(context);
    const paths = Array.from({ length: 200 }, (_, i) => context.at(`n${i}`));
    await Promise.all(paths.map((path) => client.exists(path, WATCH)));
    await Promise.all(paths.map((path) => writer.create(path)));
    assert.deepEqual(await client.entries(200), paths.map((path) => `created ${path}`));
});

check(async function watch_tells_of_each_change_of_a_multi(context) {
    const [client, writer] = await pair(context);
    await writer.create(context.at("n"));
    await client.settle(context.root);
    await client.get(context.at("n"), WATCH);
    await client.exists(context.at("n/a"), WATCH);
    await client.children(context.at("n"), WATCH);
    const transaction = writer.client.transaction().setData(context.at("n"), Buffer.from("x")).create(context.at("n/a"));
    assert.equal((await writer.commit(transaction)).error, undefined);
    const wanted = [`changed ${context.at("n")}`, `child ${context.at("n")}`, `created ${context.at("n/a")}`];
    assert.deepEqual([...(await client.entries(3))].sort(), wanted);
});

check(async function watch_tells_of_the_ephemerals_of_a_closed_session(context) {
    const [client, owner] = await pair(context);
    await owner.create(context.at("e"), "", { mode: CreateMode.EPHEMERAL });
    await client.settle(context.root);
    await client.exists(context.at("e"), WATCH);
    await client.children(context.root, WATCH);
    await owner.close();
    assert.deepEqual([...(await client.entries(2))].sort(), [`child ${context.root}`, `deleted ${context.at("e")}`]);
});

check(async function watch_of_one_node_by_many_clients(context) {
    const writer = await context.client();
    const clients = await Promise.all(Array.from({ length: 10 }, () => context.client()));
    await writer.create(context.at("n"));
    await Promise.all(clients.map((client) => client.settle(context.root)));
    await Promise.all(clients.map((client) => client.get(context.at("n"), WATCH)));
    await writer.set(context.at("n"), "x");
    for (const client of clients) assert.deepEqual(await client.entries(1), [`changed ${context.at("n")}`]);
});
