/* The C client's asynchronous calls, one by one: what each completion is told, in the order in which they were asked. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static void done(int rc, const void *data) { note((struct client *)data, "done %d", rc); }

static void told_stat(int rc, const struct Stat *stat, const void *data) {
    note((struct client *)data, "stat %d version %d", rc, stat ? stat->version : -1);
}

static void told_data(int rc, const char *value, int length, const struct Stat *stat, const void *data) {
    note((struct client *)data, "data %d %.*s version %d", rc, length > 0 ? length : 0, value ? value : "", stat ? stat->version : -1);
}

static void told_names(int rc, const struct String_vector *names, const void *data) {
    note((struct client *)data, "names %d %d %s", rc, names ? names->count : -1, names && names->count ? names->data[0] : "");
}

static void told_names_stat(int rc, const struct String_vector *names, const struct Stat *stat, const void *data) {
    note((struct client *)data, "names %d %d of %d", rc, names ? names->count : -1, stat ? stat->numChildren : -1);
}

/* A created path, without the check's own node before it. */
static const char *below(const char *path) {
    const char *root = at("");
    return path && strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : path ? path : "";
}

static void told_path(int rc, const char *path, const void *data) { note((struct client *)data, "path %d %s", rc, below(path)); }

static void told_path_stat(int rc, const char *path, const struct Stat *stat, const void *data) {
    note((struct client *)data, "path %d %s owner %d length %d", rc, below(path), stat && stat->ephemeralOwner != 0,
         stat ? stat->dataLength : -1);
}

static void told_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    note((struct client *)data, "acl %d %d %s aversion %d", rc, acl ? acl->count : -1, acl && acl->count ? acl->data[0].id.scheme : "",
         stat ? stat->aversion : -1);
}

/* The reason of a failure where the log is not exactly `wanted`. */
static const char *expect_log(struct client *client, const char *const *wanted, int count) {
    EXPECT(await_log(client, count));
    for (int i = 0; i < count; i++) {
        EXPECT_TEXT(client->log[i], wanted[i]);
    }
    return NULL;
}

#define EXPECT_LOG(client, ...)                                                                       \
    do {                                                                                              \
        const char *const wanted_[] = {__VA_ARGS__};                                                  \
        const char *failure_ = expect_log(client, wanted_, (int)(sizeof wanted_ / sizeof *wanted_)); \
        if (failure_)                                                                                 \
            return reason("%s, from line %d", failure_, __LINE__);                                 \
    } while (0)

static const char *create_calls(void) {
    struct client *client = open_client();
    zhandle_t *zh = client->zh;
    const struct ACL_vector *open = &ZOO_OPEN_ACL_UNSAFE;
    EXPECT_INT(zoo_acreate(zh, at("n"), "x", 1, open, ZOO_PERSISTENT, told_path, client), ZOK);
    EXPECT_INT(zoo_acreate(zh, at("n"), "x", 1, open, ZOO_PERSISTENT, told_path, client), ZOK);
    EXPECT_INT(zoo_acreate(zh, at("s-"), "x", 1, open, ZOO_EPHEMERAL_SEQUENTIAL, told_path, client), ZOK);
    EXPECT_INT(zoo_acreate2(zh, at("m"), "xyz", 3, open, ZOO_PERSISTENT, told_path_stat, client), ZOK);
    EXPECT_INT(zoo_acreate2(zh, at("e"), NULL, -1, open, ZOO_EPHEMERAL, told_path_stat, client), ZOK);
    EXPECT_INT(zoo_acreate2(zh, at("c"), "", 0, open, ZOO_CONTAINER, told_path_stat, client), ZOK);
    EXPECT_INT(zoo_acreate2(zh, at("none/c"), "", 0, open, ZOO_PERSISTENT, told_path_stat, client), ZOK);
    EXPECT_LOG(client, "path 0 /n", "path -110 ", "path 0 /s-0000000001", "path 0 /m owner 0 length 3", "path 0 /e owner 1 length 0",
               "path 0 /c owner 0 length 0", "path -101  owner 0 length -1");
    return NULL;
}

static const char *ttl_calls(void) {
    struct client *client = open_client();
    zhandle_t *zh = client->zh;
    const struct ACL_vector *open = &ZOO_OPEN_ACL_UNSAFE;
    char path[PATH_BYTES];
    int wanted = suite_extended_types ? ZOK : ZUNIMPLEMENTED;
    int numbered = ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL;
    EXPECT_INT(zoo_create_ttl(zh, at("t"), "", 0, open, ZOO_PERSISTENT_WITH_TTL, 60000, path, sizeof path), wanted);
    EXPECT_INT(zoo_create_ttl(zh, at("s-"), "", 0, open, numbered, 60000, path, sizeof path), wanted);
    EXPECT_INT(zoo_acreate_ttl(zh, at("s-"), "", 0, open, numbered, 60000, told_path, client), ZOK);
    EXPECT_INT(zoo_acreate2_ttl(zh, at("s-"), "xy", 2, open, numbered, 60000, told_path_stat, client), ZOK);
    if (suite_extended_types) {
        EXPECT_TEXT(below(path), "/s-0000000001");
        EXPECT_LOG(client, "path 0 /s-0000000002", "path 0 /s-0000000003 owner 0 length 2");
    } else {
        EXPECT_LOG(client, "path -6 ", "path -6  owner 0 length -1");
    }
    return NULL;
}

static const char *node_calls(void) {
    struct client *client = open_client();
    zhandle_t *zh = client->zh;
    EXPECT_INT(zoo_acreate(zh, at("n"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, told_path, client), ZOK);
    EXPECT_INT(zoo_acreate(zh, at("n/c"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, told_path, client), ZOK);
    EXPECT_INT(zoo_aset(zh, at("n"), "three", 5, 0, told_stat, client), ZOK);
    EXPECT_INT(zoo_aset(zh, at("n"), "three", 5, 0, told_stat, client), ZOK);
    EXPECT_INT(zoo_aget(zh, at("n"), 0, told_data, client), ZOK);
    EXPECT_INT(zoo_aexists(zh, at("n"), 0, told_stat, client), ZOK);
    EXPECT_INT(zoo_aexists(zh, at("none"), 0, told_stat, client), ZOK);
    EXPECT_INT(zoo_aget_children(zh, at("n"), 0, told_names, client), ZOK);
    EXPECT_INT(zoo_aget_children2(zh, at("n"), 0, told_names_stat, client), ZOK);
    EXPECT_INT(zoo_aset_acl(zh, at("n"), 0, &ZOO_OPEN_ACL_UNSAFE, done, client), ZOK);
    EXPECT_INT(zoo_aget_acl(zh, at("n"), told_acl, client), ZOK);
    EXPECT_INT(zoo_adelete(zh, at("n"), -1, done, client), ZOK);
    EXPECT_INT(zoo_adelete(zh, at("n/c"), -1, done, client), ZOK);
    EXPECT_LOG(client, "path 0 /n", "path 0 /n/c", "stat 0 version 1", "stat -103 version -1", "data 0 three version 1",
               "stat 0 version 1", "stat -101 version -1", "names 0 1 c", "names 0 1 of 1", "done 0", "acl 0 1 world aversion 1",
               "done -111", "done 0");
    return NULL;
}

static const char *multi_call(void) {
    struct client *client = open_client();
    char path[PATH_BYTES];
    zoo_op_t ops[2];
    zoo_op_result_t results[2];
    zoo_create_op_init(&ops[0], at("a"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_check_op_init(&ops[1], at("a"), 0);
    EXPECT_INT(zoo_amulti(client->zh, 2, ops, results, done, client), ZOK);
    EXPECT_LOG(client, "done 0");
    EXPECT_TEXT(path, at("a"));
    EXPECT_INT(results[0].err, ZOK);
    EXPECT_INT(results[1].err, ZOK);
    zoo_delete_op_init(&ops[0], at("a"), -1);
    zoo_check_op_init(&ops[1], at("a"), 0);
    EXPECT_INT(zoo_amulti(client->zh, 2, ops, results, done, client), ZOK);
    EXPECT_LOG(client, "done 0", "done -101");
    EXPECT_INT(results[0].err, ZOK);
    EXPECT_INT(results[1].err, ZNONODE);
    return NULL;
}

static const char *watch_calls(void) {
    struct client *client = open_client(), *writer = open_client();
    zhandle_t *zh = client->zh;
    const struct ACL_vector *open = &ZOO_OPEN_ACL_UNSAFE;
    EXPECT_INT(zoo_create(writer->zh, at("n"), "x", 1, open, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_create(writer->zh, at("p"), "", 0, open, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_create(writer->zh, at("q"), "", 0, open, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_awget(zh, at("n"), log_event, client, told_data, client), ZOK);
    EXPECT_INT(zoo_awexists(zh, at("made"), log_event, client, told_stat, client), ZOK);
    EXPECT_INT(zoo_awget_children(zh, at("p"), log_event, client, told_names, client), ZOK);
    EXPECT_INT(zoo_awget_children2(zh, at("q"), log_event, client, told_names_stat, client), ZOK);
    EXPECT(await_log(client, 4));
    EXPECT_INT(zoo_set(writer->zh, at("n"), "y", 1, -1), ZOK);
    EXPECT_INT(zoo_create(writer->zh, at("made"), "", 0, open, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_create(writer->zh, at("p/c"), "", 0, open, 0, NULL, 0), ZOK);
    EXPECT_INT(zoo_create(writer->zh, at("q/c"), "", 0, open, 0, NULL, 0), ZOK);
    EXPECT_LOG(client, "data 0 x version 0", "stat -101 version -1", "names 0 0 ", "names 0 0 of 0", "changed /n", "created /made",
               "child /p", "child /q");
    return NULL;
}

const struct check async_checks[] = {
    {"c_async_create", create_calls},
    {"c_async_ttl", ttl_calls},
    {"c_async_nodes", node_calls},
    {"c_async_multi", multi_call},
    {"c_async_watches", watch_calls},
    {NULL, NULL},
};
