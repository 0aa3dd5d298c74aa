"use strict";
// ACLs and the digest scheme: who may do what, how a list comes back, and that a reconnect proves it again.

const assert = require("assert");
const crypto = require("crypto");
const { ACL, Id, Permission } = require("node-zookeeper-client");
const { check } = require("./suite");
const { refuses } = require("./session");

const OWNER = "owner:secret";

/** The id under which the digest scheme keeps that user. */
function digestOf(user) {
    return `${user.split(":")[0]}:${crypto.createHash("sha1").update(user).digest("base64")}`;
}

check(async function acl_of_the_creator(context) {
    const [owner, other] = [await context.client({ auth: OWNER }), await context.client()];
    const path = context.at("n");
    await owner.create(path, "x", { acl: ACL.CREATOR_ALL_ACL });
    assert.equal((await owner.get(path)).data.toString(), "x");
    assert.deepEqual((await owner.acl(path)).acls, [[Permission.ALL, "digest", digestOf(OWNER)]]);
    await other.settle(context.root);
    for (const call of [
        () => other.get(path),
        () => other.set(path, ""),
        () => other.children(path),
        () => other.acl(path),
        () => other.create(`${path}/c`),
        () => other.setAcl(path, ACL.OPEN_ACL_UNSAFE),
    ]) {
        await refuses("NO_AUTH", call());
    }
    await refuses("INVALID_ACL", other.create(context.at("m"), "", { acl: ACL.CREATOR_ALL_ACL }));
    other.client.addAuthInfo("digest", Buffer.from(OWNER));
    assert.equal((await other.get(path)).data.toString(), "x");
});

check(async function acl_set_and_its_version(context) {
    const client = await context.client();
    const path = context.at("n");
    await client.create(path, "x");
    assert.deepEqual((await client.acl(path)).acls, [[Permission.ALL, "world", "anyone"]]);
    await refuses("BAD_VERSION", client.setAcl(path, ACL.READ_ACL_UNSAFE, 1));
    const stat = await client.setAcl(path, ACL.READ_ACL_UNSAFE, 0);
    assert.deepEqual([stat.aversion, stat.version], [1, 0]);
    const back = await client.acl(path);
    assert.deepEqual(back.acls, [[Permission.READ, "world", "anyone"]]);
    assert.deepEqual(back.stat, stat);
    assert.equal((await client.get(path)).data.toString(), "x");
    await refuses("NO_AUTH", client.set(path, ""));
    await refuses("NO_AUTH", client.setAcl(path, ACL.OPEN_ACL_UNSAFE));
});

check(async function acl_each_permission_by_itself(context) {
    const [owner, client] = [await context.client({ auth: OWNER }), await context.client()];
    const calls = {
        READ: (path) => client.get(path),
        WRITE: (path) => client.set(path, ""),
        CREATE: (path) => client.create(`${path}/new`),
        DELETE: (path) => client.remove(`${path}/old`),
        ADMIN: (path) => client.setAcl(path, ACL.OPEN_ACL_UNSAFE),
    };
    for (const given of Object.keys(calls)) {
        const path = context.at(given);
        await owner.create(path, "", { acl: [new ACL(Permission[given], Id.ANYONE_ID_UNSAFE), ...ACL.CREATOR_ALL_ACL] });
        await owner.create(`${path}/old`);
        await client.settle(context.root);
        for (const [asked, call] of Object.entries(calls).filter(([asked]) => asked !== given)) {
            await refuses("NO_AUTH", call(path)).catch((error) => assert.fail(`${asked} with ${given}: ${error.message}`));
        }
        await calls[given](path);
    }
});

check(async function acl_of_an_address(context) {
    const client = await context.client();
    await client.create(context.at("here"), "x", { acl: [new ACL(Permission.ALL, new Id("ip", "127.0.0.0/8"))] });
    assert.equal((await client.get(context.at("here"))).data.toString(), "x");
    await client.create(context.at("there"), "x", { acl: [new ACL(Permission.ALL, new Id("ip", "10.1.2.3"))] });
    await refuses("NO_AUTH", client.get(context.at("there")));
});

check(async function acl_of_an_unknown_scheme_is_invalid(context) {
    const client = await context.client();
    await refuses("INVALID_ACL", client.create(context.at("n"), "", { acl: [new ACL(Permission.ALL, new Id("nobody", "x"))] }));
    await refuses("INVALID_ACL", client.create(context.at("n"), "", { acl: [new ACL(Permission.ALL, new Id("digest", "nocolon"))] }));
});

check(async function acl_auth_is_proved_again_after_a_reconnect(context) {
    const client = await context.client({ auth: OWNER });
    await client.create(context.at("n"), "x", { acl: ACL.CREATOR_ALL_ACL });
    const seen = client.states.length;
    client.cut();
    await client.state("SYNC_CONNECTED", seen);
    assert.equal((await client.get(context.at("n"))).data.toString(), "x");
});

check(async function acl_auth_with_an_unknown_scheme_fails(context) {
    const client = await context.client();
    client.client.addAuthInfo("nobody", Buffer.from("x"));
    await client.state("AUTH_FAILED");
    await client.state("DISCONNECTED");
});

check(
    async function acl_super_user(context) {
        const [owner, admin] = [await context.client({ auth: OWNER }), await context.client({ auth: context.options.superAuth })];
        await owner.create(context.at("n"), "x", { acl: ACL.CREATOR_ALL_ACL });
        await admin.settle(context.root);
        assert.equal((await admin.get(context.at("n"))).data.toString(), "x");
        await admin.setAcl(context.at("n"), ACL.OPEN_ACL_UNSAFE);
    },
    (options) => options.superAuth !== "",
);
