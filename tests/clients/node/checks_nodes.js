"use strict";
// Nodes: create in every mode, data, versions, children, Stat, error codes, and many requests in flight.

const assert = require("assert");
const { CreateMode } = require("node-zookeeper-client");
const { check } = require("./suite");
const { refuses } = require("./session");

const CONTAINER = 4; // the library has no name for it

check(async function node_create_get_set_remove(context) {
    const client = await context.client();
    const path = context.at("n");
    assert.equal(await client.create(path, "one"), path);
    assert.equal((await client.get(path)).data.toString(), "one");
    const set = await client.set(path, "three", 0);
    assert.deepEqual([set.version, set.dataLength], [1, 5]);
    const { data, stat } = await client.get(path);
    assert.equal(data.toString(), "three");
    assert.deepEqual(stat, set);
    assert.deepEqual(await client.exists(path), set);
    await client.remove(path, 1);
    assert.equal(await client.exists(path), null);
});

check(async function node_create_in_every_mode(context) {
    const client = await context.client();
    const made = [];
    for (const mode of [CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL, CONTAINER]) {
        const path = await client.create(context.at(`n${mode}-`), "", { mode });
        made.push([path, (await client.exists(path)).ephemeralOwner]);
    }
    assert.deepEqual(made, [
        [context.at("n0-"), 0n],
        [context.at("n1-"), client.idNumber],
        [context.at("n2-0000000002"), 0n],
        [context.at("n3-0000000003"), client.idNumber],
        [context.at("n4-"), 0n],
    ]);
});

check(async function node_sequential_numbers(context) {
    const client = await context.client();
    const mode = CreateMode.PERSISTENT_SEQUENTIAL;
    assert.equal(await client.create(context.at("s-"), "", { mode }), context.at("s-0000000000"));
    await client.create(context.at("plain"));
    await client.remove(context.at("plain"));
    assert.equal(await client.create(context.at("t-"), "", { mode }), context.at("t-0000000002"));
    const paths = await Promise.all(Array.from({ length: 50 }, () => client.create(context.at("u-"), "", { mode })));
    assert.deepEqual(paths, Array.from({ length: 50 }, (_, i) => context.at(`u-${String(i + 3).padStart(10, "0")}`)));
});

check(async function node_ephemeral_goes_with_its_session(context) {
    const [owner, observer] = [await context.client(), await context.client()];
    await owner.create(context.at("e"), "", { mode: CreateMode.EPHEMERAL });
    await observer.settle(context.root);
    assert.equal((await observer.exists(context.at("e"))).ephemeralOwner, owner.idNumber);
    await refuses("NO_CHILDREN_FOR_EPHEMERALS", owner.create(context.at("e/c")));
    await owner.close();
    await observer.settle(context.root);
    assert.equal(await observer.exists(context.at("e")), null);
});

check(async function node_stat_of_a_node(context) {
    const client = await context.client();
    await client.create(context.at("n"), "1234");
    const fresh = await client.exists(context.at("n"));
    const { czxid, ctime } = fresh;
    assert.ok(czxid > 0n && ctime > 1500000000000n);
    const zeros = { version: 0, cversion: 0, aversion: 0, numChildren: 0, ephemeralOwner: 0n };
    assert.deepEqual(fresh, { ...zeros, czxid, mzxid: czxid, pzxid: czxid, ctime, mtime: ctime, dataLength: 4 });
    await client.create(context.at("n/c"));
    const { czxid: childZxid } = await client.exists(context.at("n/c"));
    assert.ok(childZxid > czxid);
    assert.deepEqual(await client.exists(context.at("n")), { ...fresh, pzxid: childZxid, cversion: 1, numChildren: 1 });
    await client.remove(context.at("n/c"));
    const emptied = await client.exists(context.at("n"));
    assert.ok(emptied.pzxid > childZxid);
    assert.deepEqual(emptied, { ...fresh, pzxid: emptied.pzxid, cversion: 2 });
    const set = await client.set(context.at("n"), "");
    assert.ok(set.mzxid > emptied.pzxid && set.mtime >= ctime);
    assert.deepEqual(set, { ...emptied, mzxid: set.mzxid, mtime: set.mtime, version: 1, dataLength: 0 });
});

check(async function node_data_comes_back_as_it_was(context) {
    const client = await context.client();
    const bytes = Buffer.from(Array.from({ length: 1000000 }, (_, i) => (i * 31) % 251));
    for (const [name, data] of [["text", Buffer.from("häuser 家")], ["empty", Buffer.alloc(0)], ["zero", Buffer.from([0])], ["large", bytes]]) {
        await client.create(context.at(name), data);
        const back = await client.get(context.at(name));
        assert.ok(back.data.equals(data), name);
        assert.equal(back.stat.dataLength, data.length);
    }
    await client.create(context.at("none"), null);
    assert.equal((await client.get(context.at("none"))).data, undefined);
});

check(async function node_versions_are_compared(context) {
    const client = await context.client();
    await client.create(context.at("n"));
    await refuses("BAD_VERSION", client.set(context.at("n"), "x", 3));
    await client.set(context.at("n"), "x", 0);
    await refuses("BAD_VERSION", client.set(context.at("n"), "x", 0));
    await refuses("BAD_VERSION", client.remove(context.at("n"), 0));
    await client.set(context.at("n"), "x", -1);
    await client.remove(context.at("n"), 2);
});

check(async function node_errors_by_code(context) {
    const client = await context.client();
    await client.create(context.at("n"));
    await client.create(context.at("n/c"));
    await refuses("NODE_EXISTS", client.create(context.at("n")));
    await refuses("NO_NODE", client.create(context.at("none/c")));
    await refuses("NO_NODE", client.get(context.at("none")));
    await refuses("NO_NODE", client.set(context.at("none"), ""));
    await refuses("NO_NODE", client.children(context.at("none")));
    await refuses("NO_NODE", client.acl(context.at("none")));
    await refuses("NO_NODE", client.remove(context.at("none")));
    await refuses("NOT_EMPTY", client.remove(context.at("n")));
    await refuses("BAD_ARGUMENTS", client.remove("/"));
    await refuses("BAD_ARGUMENTS", client.create(context.at("m"), "", { mode: 9 }));
});

check(async function node_children(context) {
    const client = await context.client();
    assert.deepEqual((await client.children(context.root)).names, []);
    const names = Array.from({ length: 1000 }, (_, i) => `n${String(i).padStart(4, "0")}`);
    await Promise.all(names.map((name) => client.create(context.at(name))));
    const children = await client.children(context.root);
    assert.deepEqual(children.names, names);
    assert.deepEqual([children.stat.numChildren, children.stat.cversion], [1000, 1000]);
    assert.deepEqual(children.stat, await client.exists(context.root));
});

check(async function node_pipeline_is_answered_in_order(context) {
    const client = await context.client();
    await client.create(context.at("n"));
    const replies = [];
    const note = (what) => (result) => replies.push(`${what} ${result.version ?? result.data}`);
    const pending = [];
    for (let i = 0; i < 500; i += 1) {
        pending.push(client.set(context.at("n"), `${i}`, i).then(note("set")), client.get(context.at("n")).then(note("get")));
    }
    await Promise.all(pending);
    assert.deepEqual(replies, Array.from({ length: 500 }, (_, i) => [`set ${i + 1}`, `get ${i}`]).flat());
});

check(async function node_paths_below_a_chroot(context) {
    const [client, inside] = [await context.client(), await context.client({ chroot: context.root })];
    assert.equal(await inside.create("/n", "x"), "/n");
    assert.equal((await client.get(context.at("n"))).data.toString(), "x");
    assert.deepEqual((await inside.children("/")).names, ["n"]);
    await inside.get("/n", () => {});
    await client.set(context.at("n"), "y");
    assert.deepEqual(await inside.entries(1), ["changed /n"]);
});
