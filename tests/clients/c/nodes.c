/* Nodes, Stat, ACLs and multi through the C client's synchronous calls. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static int create(struct client *client, const char *path, const char *data, int mode) {
    return zoo_create(client->zh, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0);
}

/* The node's data as text in a static buffer, or the error's name. */
static const char *get(struct client *client, const char *path, struct Stat *stat) {
    static char buffer[4096];
    int bytes = sizeof buffer - 1;
    int rc = zoo_get(client->zh, path, 0, buffer, &bytes, stat);
    if (rc != ZOK) {
        return zerror(rc);
    }
    buffer[bytes > 0 ? bytes : 0] = '\0';
    return buffer;
}

static bool same_stat(const struct Stat *a, const struct Stat *b) {
    return a->czxid == b->czxid && a->mzxid == b->mzxid && a->ctime == b->ctime && a->mtime == b->mtime &&
           a->version == b->version && a->cversion == b->cversion && a->aversion == b->aversion &&
           a->ephemeralOwner == b->ephemeralOwner && a->dataLength == b->dataLength && a->numChildren == b->numChildren &&
           a->pzxid == b->pzxid;
}

static const char *create_get_set_delete(void) {
    struct client *client = open_client();
    char path[PATH_BYTES];
    struct Stat stat, same;
    EXPECT_INT(zoo_create(client->zh, at("n"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    EXPECT_TEXT(path, at("n"));
    EXPECT_TEXT(get(client, at("n"), &stat), "one");
    EXPECT_INT(zoo_exists(client->zh, at("n"), 0, &same), ZOK);
    EXPECT(same_stat(&stat, &same));
    EXPECT_INT(zoo_set2(client->zh, at("n"), "three", 5, 0, &stat), ZOK);
    EXPECT_INT(stat.version, 1);
    EXPECT_INT(stat.dataLength, 5);
    EXPECT_TEXT(get(client, at("n"), &stat), "three");
    EXPECT_INT(zoo_delete(client->zh, at("n"), 1), ZOK);
    EXPECT_INT(zoo_exists(client->zh, at("n"), 0, &stat), ZNONODE);
    return NULL;
}

static const char *stat_fields(void) {
    struct client *client = open_client();
    struct Stat fresh, parent;
    EXPECT_INT(zoo_create2(client->zh, at("n"), "1234", 4, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0, &fresh), ZOK);
    EXPECT_INT(fresh.version, 0);
    EXPECT_INT(fresh.cversion, 0);
    EXPECT_INT(fresh.aversion, 0);
    EXPECT_INT(fresh.dataLength, 4);
    EXPECT_INT(fresh.ephemeralOwner, 0);
    EXPECT_INT(fresh.mzxid, fresh.czxid);
    EXPECT_INT(fresh.pzxid, fresh.czxid);
    EXPECT_INT(fresh.mtime, fresh.ctime);
    EXPECT_INT(create(client, at("n/c"), "", 0), ZOK);
    EXPECT_INT(zoo_exists(client->zh, at("n"), 0, &parent), ZOK);
    EXPECT_INT(parent.cversion, 1);
    EXPECT_INT(parent.numChildren, 1);
    EXPECT_INT(parent.mzxid, fresh.mzxid);
    EXPECT(parent.pzxid > fresh.pzxid);
    EXPECT_INT(zoo_delete(client->zh, at("n/c"), -1), ZOK);
    EXPECT_INT(zoo_exists(client->zh, at("n"), 0, &parent), ZOK);
    EXPECT_INT(parent.cversion, 2);
    EXPECT_INT(parent.numChildren, 0);
    return NULL;
}

static const char *errors(void) {
    struct client *client = open_client();
    EXPECT_INT(create(client, at("n"), "", 0), ZOK);
    EXPECT_INT(create(client, at("n"), "", 0), ZNODEEXISTS);
    EXPECT_INT(create(client, at("none/c"), "", 0), ZNONODE);
    EXPECT_INT(zoo_delete(client->zh, at("none"), -1), ZNONODE);
    EXPECT_INT(zoo_set(client->zh, at("none"), "", 0, -1), ZNONODE);
    EXPECT_INT(zoo_set(client->zh, at("n"), "", 0, 3), ZBADVERSION);
    EXPECT_INT(zoo_delete(client->zh, at("n"), 3), ZBADVERSION);
    EXPECT_INT(create(client, at("n/e"), "", ZOO_EPHEMERAL), ZOK);
    EXPECT_INT(create(client, at("n/e/c"), "", 0), ZNOCHILDRENFOREPHEMERALS);
    EXPECT_INT(zoo_delete(client->zh, at("n"), -1), ZNOTEMPTY);
    return NULL;
}

static const char *children(void) {
    struct client *client = open_client();
    struct String_vector names;
    struct Stat stat;
    EXPECT_INT(zoo_get_children(client->zh, at(""), 0, &names), ZOK);
    EXPECT_INT(names.count, 0);
    EXPECT_INT(create(client, at("a"), "", 0), ZOK);
    EXPECT_INT(create(client, at("b"), "", 0), ZOK);
    EXPECT_INT(zoo_get_children2(client->zh, at(""), 0, &names, &stat), ZOK);
    EXPECT_INT(names.count, 2);
    EXPECT_INT(stat.numChildren, 2);
    bool first = strcmp(names.data[0], "a") == 0 && strcmp(names.data[1], "b") == 0;
    bool second = strcmp(names.data[0], "b") == 0 && strcmp(names.data[1], "a") == 0;
    deallocate_String_vector(&names);
    EXPECT(first || second);
    return NULL;
}

static const char *sequential(void) {
    struct client *client = open_client();
    char path[PATH_BYTES];
    EXPECT_INT(zoo_create(client->zh, at("s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, path, sizeof path), ZOK);
    EXPECT_TEXT(path, at("s-0000000000"));
    EXPECT_INT(zoo_create(client->zh, at("s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, path, sizeof path), ZOK);
    EXPECT_TEXT(path, at("s-0000000001"));
    return NULL;
}

static const char *ephemeral(void) {
    struct client *observer = open_client(), *owner = open_client();
    struct Stat stat;
    EXPECT_INT(create(owner, at("e"), "", ZOO_EPHEMERAL), ZOK);
    EXPECT_INT(zoo_exists(observer->zh, at("e"), 0, &stat), ZOK);
    EXPECT_INT(stat.ephemeralOwner, zoo_client_id(owner->zh)->client_id);
    close_client(owner);
    EXPECT(settle(observer));
    EXPECT_INT(zoo_exists(observer->zh, at("e"), 0, &stat), ZNONODE);
    return NULL;
}

static const char *container_and_ttl(void) {
    struct client *client = open_client();
    struct Stat stat;
    EXPECT_INT(zoo_create2(client->zh, at("c"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0, &stat), ZOK);
    EXPECT_INT(stat.ephemeralOwner, 0);
    int wanted = suite_extended_types ? ZOK : ZUNIMPLEMENTED;
    EXPECT_INT(zoo_create2_ttl(client->zh, at("t"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 60000, NULL, 0, &stat),
               wanted);
    return NULL;
}

static const char *large_data(void) {
    enum { BYTES = 1000000 };
    static char data[BYTES], back[BYTES];
    struct client *client = open_client();
    struct Stat stat;
    int bytes = BYTES;
    for (int i = 0; i < BYTES; i++) {
        data[i] = (char)(i * 31 % 251);
    }
    EXPECT_INT(zoo_create(client->zh, at("n"), data, BYTES, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_get(client->zh, at("n"), 0, back, &bytes, &stat), ZOK);
    EXPECT_INT(bytes, BYTES);
    EXPECT(memcmp(data, back, BYTES) == 0);
    return NULL;
}

static const char *multi_succeeds(void) {
    struct client *client = open_client();
    char path[PATH_BYTES], numbered[PATH_BYTES];
    struct Stat set, a;
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    EXPECT_INT(create(client, at("old"), "1", 0), ZOK);
    EXPECT_INT(create(client, at("gone"), "1", 0), ZOK);
    zoo_check_op_init(&ops[0], at("old"), 0);
    zoo_create_op_init(&ops[1], at("a"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_create_op_init(&ops[2], at("s-"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, numbered, sizeof numbered);
    zoo_set_op_init(&ops[3], at("old"), "22", 2, 0, &set);
    zoo_delete_op_init(&ops[4], at("gone"), 0);
    EXPECT_INT(zoo_multi(client->zh, 5, ops, results), ZOK);
    for (int i = 0; i < 5; i++) {
        EXPECT_INT(results[i].err, ZOK);
    }
    EXPECT_TEXT(path, at("a"));
    EXPECT_TEXT(numbered, at("s-0000000003"));
    EXPECT_INT(set.version, 1);
    EXPECT_INT(zoo_exists(client->zh, at("a"), 0, &a), ZOK);
    EXPECT_INT(a.czxid, set.mzxid);
    EXPECT_INT(zoo_exists(client->zh, at("gone"), 0, &a), ZNONODE);
    return NULL;
}

static const char *multi_fails(void) {
    struct client *client = open_client();
    struct Stat stat;
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    zoo_create_op_init(&ops[0], at("a"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_delete_op_init(&ops[1], at("none"), -1);
    zoo_create_op_init(&ops[2], at("b"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    EXPECT_INT(zoo_multi(client->zh, 3, ops, results), ZNONODE);
    EXPECT_INT(results[0].err, ZOK);
    EXPECT_INT(results[1].err, ZNONODE);
    EXPECT_INT(results[2].err, ZRUNTIMEINCONSISTENCY);
    EXPECT_INT(zoo_exists(client->zh, at("a"), 0, &stat), ZNONODE);
    return NULL;
}

/* zoo_add_auth's completion, on any client. */
static void authenticated(int rc, const void *data) { note((struct client *)data, "auth %d", rc); }

static bool add_auth(struct client *client, const char *credentials) {
    return zoo_add_auth(client->zh, "digest", credentials, (int)strlen(credentials), authenticated, client) == ZOK;
}

static const char *acl_creator_all(void) {
    struct client *owner = open_client(), *other = open_client();
    struct ACL_vector acl;
    struct Stat stat;
    EXPECT(add_auth(owner, "owner:secret") && await_log(owner, 1));
    EXPECT_TEXT(owner->log[0], "auth 0");
    EXPECT_INT(zoo_create(owner->zh, at("n"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZOK);
    EXPECT_TEXT(get(owner, at("n"), &stat), "x");
    EXPECT_TEXT(get(other, at("n"), &stat), zerror(ZNOAUTH));
    EXPECT_INT(zoo_set(other->zh, at("n"), "", 0, -1), ZNOAUTH);
    EXPECT_INT(zoo_create(other->zh, at("m"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZINVALIDACL);
    EXPECT_INT(zoo_get_acl(owner->zh, at("n"), &acl, &stat), ZOK);
    bool digest = acl.count == 1 && strcmp(acl.data[0].id.scheme, "digest") == 0 && acl.data[0].perms == ZOO_PERM_ALL &&
                  strncmp(acl.data[0].id.id, "owner:", 6) == 0;
    deallocate_ACL_vector(&acl);
    EXPECT(digest);
    EXPECT(add_auth(other, "owner:secret") && await_log(other, 1));
    EXPECT_TEXT(get(other, at("n"), &stat), "x");
    return NULL;
}

static const char *acl_set_and_versions(void) {
    struct client *client = open_client();
    struct Stat stat;
    struct ACL_vector acl;
    EXPECT_INT(create(client, at("n"), "x", 0), ZOK);
    EXPECT_INT(zoo_set_acl(client->zh, at("n"), 0, &ZOO_READ_ACL_UNSAFE), ZOK);
    EXPECT_INT(zoo_get_acl(client->zh, at("n"), &acl, &stat), ZOK);
    int perms = acl.count == 1 ? acl.data[0].perms : -1;
    deallocate_ACL_vector(&acl);
    EXPECT_INT(perms, ZOO_PERM_READ);
    EXPECT_INT(stat.aversion, 1);
    EXPECT_TEXT(get(client, at("n"), &stat), "x");
    EXPECT_INT(zoo_set(client->zh, at("n"), "", 0, -1), ZNOAUTH);
    EXPECT_INT(create(client, at("n/c"), "", 0), ZNOAUTH);
    EXPECT_INT(create(client, at("m"), "x", 0), ZOK);
    EXPECT_INT(zoo_set_acl(client->zh, at("m"), 5, &ZOO_OPEN_ACL_UNSAFE), ZBADVERSION);
    return NULL;
}

static const char *super_user(void) {
    struct client *owner = open_client(), *admin = open_client();
    struct Stat stat;
    EXPECT(add_auth(owner, "owner:secret") && await_log(owner, 1));
    EXPECT_INT(zoo_create(owner->zh, at("n"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZOK);
    EXPECT(add_auth(admin, suite_super) && await_log(admin, 1));
    EXPECT_TEXT(get(admin, at("n"), &stat), "x");
    return NULL;
}

/* A standalone server has an empty configuration, an ensemble names its servers; reconfig is switched off where nobody has switched it on. */
static const char *configuration(void) {
    struct client *client = open_client();
    char buffer[1024];
    int bytes = sizeof buffer;
    struct Stat stat;
    EXPECT_INT(zoo_getconfig(client->zh, 0, buffer, &bytes, &stat), ZOK);
    if (strchr(suite_hosts, ',')) {
        EXPECT(bytes > 0 && !strncmp(buffer, "server.1=", strlen("server.1=")));
        EXPECT_INT(stat.version, -1);
    } else {
        EXPECT(bytes <= 0);
        EXPECT_INT(stat.version, 0);
    }
    bytes = sizeof buffer;
    EXPECT_INT(zoo_reconfig(client->zh, "server.9=127.0.0.1:1:2;3", NULL, NULL, -1, buffer, &bytes, &stat), ZRECONFIGDISABLED);
    return NULL;
}

const struct check node_checks[] = {
    {"c_create_get_set_delete", create_get_set_delete},
    {"c_stat_fields", stat_fields},
    {"c_errors", errors},
    {"c_children", children},
    {"c_sequential", sequential},
    {"c_ephemeral_goes_with_its_session", ephemeral},
    {"c_container_and_ttl", container_and_ttl},
    {"c_large_data", large_data},
    {"c_multi_succeeds", multi_succeeds},
    {"c_multi_fails_as_a_whole", multi_fails},
    {"c_acl_creator_all", acl_creator_all},
    {"c_acl_set_and_versions", acl_set_and_versions},
    {"c_super_user", super_user},
    {"c_getconfig_and_reconfig", configuration},
    {NULL, NULL},
};
