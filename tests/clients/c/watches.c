/* Watches of the C client and the order of events and completions, which the library runs on one thread in the wire's order. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int create(struct client *client, const char *path) {
    return zoo_create(client->zh, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
}

static const char *data_watch(void) {
    struct client *client = open_client(), *writer = open_client();
    char buffer[8];
    int bytes = sizeof buffer;
    EXPECT_INT(create(writer, at("n")), ZOK);
    EXPECT_INT(zoo_wget(client->zh, at("n"), log_event, client, buffer, &bytes, NULL), ZOK);
    for (int i = 0; i < 3; i++) {
        EXPECT_INT(zoo_set(writer->zh, at("n"), "x", 1, i), ZOK);
    }
    EXPECT(settle(client));
    EXPECT_INT(client->count, 1);
    EXPECT_TEXT(client->log[0], "changed /n");
    return NULL;
}

static const char *exists_watch(void) {
    struct client *client = open_client(), *writer = open_client();
    struct Stat stat;
    EXPECT_INT(zoo_wexists(client->zh, at("n"), log_event, client, &stat), ZNONODE);
    EXPECT_INT(create(writer, at("n")), ZOK);
    EXPECT(await_log(client, 1));
    EXPECT_TEXT(client->log[0], "created /n");
    EXPECT_INT(zoo_wexists(client->zh, at("n"), log_event, client, &stat), ZOK);
    EXPECT_INT(zoo_delete(writer->zh, at("n"), -1), ZOK);
    EXPECT(await_log(client, 2));
    EXPECT_TEXT(client->log[1], "deleted /n");
    return NULL;
}

static const char *child_watch(void) {
    struct client *client = open_client(), *writer = open_client();
    struct String_vector names = {0, NULL};
    EXPECT_INT(create(writer, at("n")), ZOK);
    EXPECT_INT(zoo_wget_children(client->zh, at("n"), log_event, client, &names), ZOK);
    EXPECT_INT(zoo_set(writer->zh, at("n"), "not the children", 5, -1), ZOK);
    EXPECT_INT(create(writer, at("n/c")), ZOK);
    EXPECT_INT(create(writer, at("n/d")), ZOK);
    EXPECT(settle(client));
    EXPECT_INT(client->count, 1);
    EXPECT_TEXT(client->log[0], "child /n");
    return NULL;
}

static const char *removed_watch(void) {
    struct client *client = open_client(), *writer = open_client();
    struct Stat stat;
    EXPECT_INT(create(writer, at("n")), ZOK);
    EXPECT_INT(zoo_wexists(client->zh, at("n"), log_event, client, &stat), ZOK);
    EXPECT_INT(zoo_remove_watches(client->zh, at("n"), ZWATCHTYPE_DATA, log_event, client, 0), ZOK);
    EXPECT_INT(zoo_set(writer->zh, at("n"), "x", 1, -1), ZOK);
    EXPECT(settle(client));
    for (int i = 0; i < client->count; i++) {
        EXPECT(strcmp(client->log[i], "changed /n") != 0);
    }
    EXPECT_INT(zoo_remove_watches(client->zh, at("n"), ZWATCHTYPE_DATA, log_event, client, 0), ZNOWATCHER);
    return NULL;
}

static const char *removed_watches_of_a_kind(void) {
    struct client *client = open_client(), *writer = open_client();
    struct String_vector names = {0, NULL};
    struct Stat stat;
    EXPECT_INT(create(writer, at("n")), ZOK);
    EXPECT_INT(zoo_wexists(client->zh, at("n"), log_event, client, &stat), ZOK);
    EXPECT_INT(zoo_wget_children2(client->zh, at("n"), log_event, client, &names, &stat), ZOK);
    EXPECT_INT(zoo_remove_all_watches(client->zh, at("n"), ZWATCHTYPE_DATA, 0), ZOK);
    int removed = client->count;
    EXPECT_INT(zoo_set(writer->zh, at("n"), "x", 1, -1), ZOK);
    EXPECT_INT(create(writer, at("n/c")), ZOK);
    EXPECT(await_log(client, removed + 1));
    EXPECT(settle(client));
    EXPECT_INT(client->count, removed + 1);
    EXPECT_TEXT(client->log[removed], "child /n");
    EXPECT_INT(zoo_remove_all_watches(client->zh, at("n"), ZWATCHTYPE_DATA, 0), ZNOWATCHER);
    return NULL;
}

static void set_done(int rc, const struct Stat *stat, const void *data) {
    note((struct client *)data, "set %d version %d", rc, stat ? stat->version : -1);
}

static const char *event_before_own_reply(void) {
    struct client *client = open_client();
    struct Stat stat;
    EXPECT_INT(create(client, at("n")), ZOK);
    EXPECT_INT(zoo_wexists(client->zh, at("n"), log_event, client, &stat), ZOK);
    EXPECT_INT(zoo_aset(client->zh, at("n"), "x", 1, -1, set_done, client), ZOK);
    EXPECT(await_log(client, 2));
    EXPECT_TEXT(client->log[0], "changed /n");
    EXPECT_TEXT(client->log[1], "set 0 version 1");
    return NULL;
}

static const char *pipeline_order(void) {
    enum { DEPTH = 1000 };
    struct client *client = open_client();
    EXPECT_INT(create(client, at("n")), ZOK);
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_INT(zoo_aset(client->zh, at("n"), "x", 1, i, set_done, client), ZOK);
    }
    EXPECT(await_log(client, DEPTH));
    for (int i = 0; i < DEPTH; i++) {
        char wanted[ENTRY_BYTES];
        snprintf(wanted, sizeof wanted, "set 0 version %d", i + 1);
        EXPECT_TEXT(client->log[i], wanted);
    }
    return NULL;
}

const struct check watch_checks[] = {
    {"c_data_watch_fires_once", data_watch},
    {"c_exists_watch", exists_watch},
    {"c_child_watch", child_watch},
    {"c_removed_watch_is_silent", removed_watch},
    {"c_removed_watches_of_a_kind", removed_watches_of_a_kind},
    {"c_event_before_own_reply", event_before_own_reply},
    {"c_pipeline_order", pipeline_order},
    {NULL, NULL},
};
