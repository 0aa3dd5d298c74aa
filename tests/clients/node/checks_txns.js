"use strict";
// Transactions (multi): all or nothing, one zxid, the result of each operation, the error vector.
//
// The library sends version 0 as -1, so no check here asks for it.

const assert = require("assert");
const { CreateMode } = require("node-zookeeper-client");
const { check } = require("./suite");

const [CREATE, DELETE, SET_DATA, CHECK, ERROR] = [1, 2, 5, 13, -1]; // result types on the wire

/** What each result says of itself: its type, and the error's code where it is one. */
function told(results) {
    return results.map((result) => (result.type === ERROR ? result.err : `type ${result.type}`));
}

check(async function multi_succeeds(context) {
    const client = await context.client();
    await client.create(context.at("old"), "1");
    await client.set(context.at("old"), "2");
    await client.create(context.at("gone"));
    await client.set(context.at("gone"), "");
    const transaction = client.client.transaction();
    transaction.check(context.at("old"), 1).create(context.at("a"), Buffer.from("x")).create(context.at("a/b"));
    transaction.setData(context.at("old"), Buffer.from("22"), 1).remove(context.at("gone"), 1);
    const { error, results } = await client.commit(transaction);
    assert.equal(error, undefined);
    assert.deepEqual(told(results), [CHECK, CREATE, CREATE, SET_DATA, DELETE].map((type) => `type ${type}`));
    assert.deepEqual([results[1].path, results[2].path], [context.at("a"), context.at("a/b")]);
    assert.deepEqual([results[3].stat.version, results[3].stat.dataLength], [2, 2]);
    assert.deepEqual((await client.children(context.root)).names, ["a", "old"]);
    const [a, b, old] = await Promise.all(["a", "a/b", "old"].map((name) => client.exists(context.at(name))));
    assert.deepEqual([a.czxid, b.czxid, old.mzxid], [a.czxid, a.czxid, a.czxid]);
});

check(async function multi_fails_as_a_whole(context) {
    const client = await context.client();
    await client.create(context.at("n"), "1");
    const before = await client.exists(context.root);
    const transaction = client.client.transaction();
    transaction.create(context.at("a")).setData(context.at("n"), Buffer.from("2"));
    transaction.remove(context.at("missing")).create(context.at("b"));
    const { error, results } = await client.commit(transaction);
    assert.equal(error.getName(), "NO_NODE");
    assert.deepEqual(told(results), [0, 0, -101, -2]);
    assert.deepEqual(await client.exists(context.root), before);
    assert.equal((await client.get(context.at("n"))).data.toString(), "1");
});

check(async function multi_error_at_each_place(context) {
    const client = await context.client();
    await client.create(context.at("n"));
    for (let place = 0; place < 5; place += 1) {
        const transaction = client.client.transaction();
        for (let i = 0; i < 5; i += 1) {
            if (i === place) transaction.check(context.at("n"), 99);
            else transaction.create(context.at(`c${i}`));
        }
        const { error, results } = await client.commit(transaction);
        assert.equal(error.getName(), "BAD_VERSION");
        assert.deepEqual(told(results), Array.from({ length: 5 }, (_, i) => (i < place ? 0 : i === place ? -103 : -2)));
    }
    assert.deepEqual((await client.children(context.root)).names, ["n"]);
});

check(async function multi_sees_its_own_operations(context) {
    const client = await context.client();
    const transaction = client.client.transaction();
    transaction.create(context.at("n"), Buffer.from("1")).setData(context.at("n"), Buffer.from("2")).check(context.at("n"), 1);
    transaction.remove(context.at("n"), 1).create(context.at("n"), Buffer.from("3"));
    transaction.create(context.at("s-"), CreateMode.PERSISTENT_SEQUENTIAL).create(context.at("s-"), CreateMode.PERSISTENT_SEQUENTIAL);
    transaction.create(context.at("e"), CreateMode.EPHEMERAL);
    const { error, results } = await client.commit(transaction);
    assert.equal(error, undefined);
    // The number counts the children that were made: two before the first of these.
    assert.deepEqual([results[5].path, results[6].path], [context.at("s-0000000002"), context.at("s-0000000003")]);
    assert.equal((await client.get(context.at("n"))).data.toString(), "3");
    assert.equal((await client.exists(context.at("e"))).ephemeralOwner, client.idNumber);
});

check(async function multi_of_many_operations(context) {
    const client = await context.client();
    const transaction = client.client.transaction();
    for (let i = 0; i < 1000; i += 1) transaction.create(context.at(`n${i}`), Buffer.alloc(100, "x"));
    const { error, results } = await client.commit(transaction);
    assert.equal(error, undefined);
    assert.deepEqual(results.map((result) => result.path), Array.from({ length: 1000 }, (_, i) => context.at(`n${i}`)));
    assert.equal((await client.exists(context.root)).cversion, 1000);
});
