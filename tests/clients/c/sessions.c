/* Sessions of the C client. Another process stands for the client that lost its connection: it dies without closing its session. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Let another process open a session with that timeout, make the ephemeral `path` and die. */
static const char *abandoned(int timeout_ms, const char *path, clientid_t *id) {
    char command[4 * PATH_BYTES], hex[2 * sizeof id->passwd + 1];
    long long number;
    int rc = -1;
    snprintf(command, sizeof command, "exec /proc/%ld/exe --abandon-session %d '%s' '%s'", (long)getpid(), timeout_ms, suite_server, path);
    FILE *output = popen(command, "r");
    EXPECT(output != NULL);
    int read = fscanf(output, "%d %lld %32s", &rc, &number, hex);
    pclose(output);
    EXPECT_INT(read, 3);
    EXPECT_INT(rc, ZOK);
    id->client_id = number;
    for (size_t i = 0; i < sizeof id->passwd; i++) {
        unsigned byte;
        EXPECT_INT(sscanf(hex + 2 * i, "%2x", &byte), 1);
        id->passwd[i] = (char)byte;
    }
    return NULL;
}

static const char *resumed(void) {
    struct client *observer = open_client();
    struct Stat stat;
    clientid_t id;
    const char *failure = abandoned(TIMEOUT_MS, at("e"), &id);
    if (failure) {
        return failure;
    }
    struct client *client = resume_client(&id);
    EXPECT(await_connected(client));
    EXPECT_INT(zoo_client_id(client->zh)->client_id, id.client_id);
    EXPECT_INT(zoo_exists(client->zh, at("e"), 0, &stat), ZOK);
    EXPECT_INT(stat.ephemeralOwner, id.client_id);
    close_client(client);
    EXPECT(settle(observer));
    EXPECT_INT(zoo_exists(observer->zh, at("e"), 0, &stat), ZNONODE);
    return NULL;
}

static const char *wrong_password(void) {
    struct client *owner = open_client();
    struct Stat stat;
    EXPECT_INT(zoo_create(owner->zh, at("e"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), ZOK);
    clientid_t forged = *zoo_client_id(owner->zh);
    forged.passwd[0] ^= 1;
    struct client *thief = resume_client(&forged);
    EXPECT(await_expired(thief));
    struct client *observer = open_client();
    EXPECT_INT(zoo_exists(observer->zh, at("e"), 0, &stat), ZOK);
    EXPECT_INT(stat.ephemeralOwner, forged.client_id);
    return NULL;
}

static const char *expiry(void) {
    struct client *observer = open_client();
    struct Stat stat;
    clientid_t id;
    const char *failure = abandoned(SHORT_TIMEOUT_MS, at("e"), &id);
    if (failure) {
        return failure;
    }
    EXPECT_INT(zoo_wexists(observer->zh, at("e"), log_event, observer, &stat), ZOK);
    EXPECT(await_log(observer, 1));
    EXPECT_TEXT(observer->log[0], "deleted /e");
    struct client *late = resume_client(&id);
    EXPECT(await_expired(late));
    return NULL;
}

static const char *getters(void) {
    struct client *client = open_client();
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    EXPECT_INT(zoo_state(client->zh), ZOO_CONNECTED_STATE);
    EXPECT_INT(is_unrecoverable(client->zh), 0);
    EXPECT_INT(zoo_recv_timeout(client->zh), suite_timeout_ms);
    EXPECT(zoo_get_context(client->zh) == client);
    EXPECT(zookeeper_get_connected_host(client->zh, (struct sockaddr *)&address, &bytes) != NULL);
    const char *port = strrchr(zoo_get_current_server(client->zh), ':');
    EXPECT(port && strstr(suite_hosts, port));
    EXPECT(zoo_client_id(client->zh)->client_id != 0);
    return NULL;
}

const struct check session_checks[] = {
    {"c_session_resumed_with_password", resumed},
    {"c_session_wrong_password", wrong_password},
    {"c_session_expires", expiry},
    {"c_session_getters", getters},
    {NULL, NULL},
};
