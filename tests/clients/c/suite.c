/* The C suite's frame and entry: `suite [--super user:password] [--no-extended-types] [--only text] host:port`.
 * Prints "ok name" or "FAIL name: reason" per check and exits 1 on a failure; run.sh prints the counts. */
#include "suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32, PATH_BUFFERS = 16 };

const char *suite_hosts;
char suite_server[PATH_BYTES];
const char *suite_super;
bool suite_extended_types = true;
int suite_timeout_ms = TIMEOUT_MS;

static char root[PATH_BYTES / 4];
static char check_root[PATH_BYTES / 2];
static struct client *open_clients[CLIENTS_MAX];

const char *at(const char *name) {
    static char buffers[PATH_BUFFERS][PATH_BYTES];
    static unsigned next;
    char *buffer = buffers[next++ % PATH_BUFFERS];
    snprintf(buffer, PATH_BYTES, "%s%s%s", check_root, *name ? "/" : "", name);
    return buffer;
}

const char *reason(const char *format, ...) {
    static char buffer[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    return buffer;
}

void note(struct client *client, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&client->lock);
    if (client->count < LOG_MAX) {
        vsnprintf(client->log[client->count++], ENTRY_BYTES, format, arguments);
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    va_end(arguments);
}

/* An event's name; a path is shortened to what follows the check's own node. */
void log_event(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh;
    (void)state;
    const char *name = type == ZOO_CREATED_EVENT   ? "created"
                       : type == ZOO_DELETED_EVENT ? "deleted"
                       : type == ZOO_CHANGED_EVENT ? "changed"
                       : type == ZOO_CHILD_EVENT   ? "child"
                                                   : NULL;
    size_t prefix = strlen(check_root);
    if (strncmp(path, check_root, prefix) == 0) {
        path += prefix;
    }
    if (type == ZOO_SESSION_EVENT) {
        return;
    }
    if (name) {
        note(context, "%s %s", name, path);
    } else {
        note(context, "type %d %s", type, path);
    }
}

static void session_event(zhandle_t *zh, int type, int state, const char *path, void *context) {
    struct client *client = context;
    (void)zh;
    (void)path;
    if (type != ZOO_SESSION_EVENT) {
        return;
    }
    pthread_mutex_lock(&client->lock);
    client->connected = state == ZOO_CONNECTED_STATE;
    client->expired = client->expired || state == ZOO_EXPIRED_SESSION_STATE;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static struct timespec limit(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    return until;
}

static bool await_flag(struct client *client, const bool *flag) {
    struct timespec until = limit();
    int timed_out = 0;
    pthread_mutex_lock(&client->lock);
    while (!*flag && !timed_out) {
        timed_out = pthread_cond_timedwait(&client->changed, &client->lock, &until);
    }
    bool holds = *flag;
    pthread_mutex_unlock(&client->lock);
    return holds;
}

bool await_connected(struct client *client) { return await_flag(client, &client->connected); }

bool await_expired(struct client *client) { return await_flag(client, &client->expired); }

bool await_log(struct client *client, int count) {
    struct timespec until = limit();
    int timed_out = 0;
    pthread_mutex_lock(&client->lock);
    while (client->count < count && !timed_out) {
        timed_out = pthread_cond_timedwait(&client->changed, &client->lock, &until);
    }
    bool enough = client->count >= count;
    pthread_mutex_unlock(&client->lock);
    return enough;
}

struct client *resume_client(const clientid_t *id) {
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        abort();
    }
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->changed, NULL);
    client->zh = zookeeper_init(suite_server, session_event, suite_timeout_ms, id, client, 0);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (!open_clients[i]) {
            open_clients[i] = client;
            return client;
        }
    }
    abort();
}

struct client *open_client(void) {
    struct client *client = resume_client(NULL);
    if (!client->zh || !await_connected(client)) {
        fprintf(stderr, "could not connect to %s\n", suite_server);
    }
    return client;
}

void close_client(struct client *client) {
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (open_clients[i] == client) {
            open_clients[i] = NULL;
        }
    }
    if (client->zh) {
        zookeeper_close(client->zh);
    }
    free(client);
}

static void settled(int rc, const char *value, const void *data) {
    (void)value;
    note((struct client *)data, "settled %d", rc);
}

/* Takes its own entry off the log again. */
bool settle(struct client *client) {
    pthread_mutex_lock(&client->lock);
    int before = client->count;
    pthread_mutex_unlock(&client->lock);
    if (zoo_async(client->zh, check_root, settled, client) != ZOK) {
        return false;
    }
    for (int wanted = before + 1; await_log(client, wanted); wanted++) {
        pthread_mutex_lock(&client->lock);
        bool done = strcmp(client->log[client->count - 1], "settled 0") == 0;
        client->count -= done;
        pthread_mutex_unlock(&client->lock);
        if (done) {
            return true;
        }
    }
    return false;
}

static void remove_tree(zhandle_t *zh, const char *path) {
    struct String_vector names = {0, NULL};
    if (zoo_get_children(zh, path, 0, &names) == ZOK) {
        for (int i = 0; i < names.count; i++) {
            char below[2 * PATH_BYTES];
            snprintf(below, sizeof below, "%s/%s", path, names.data[i]);
            remove_tree(zh, below);
        }
        deallocate_String_vector(&names);
    }
    zoo_delete(zh, path, -1);
}

static void close_all(void) {
    for (int i = CLIENTS_MAX - 1; i >= 0; i--) {
        if (open_clients[i]) {
            close_client(open_clients[i]);
        }
    }
}

/* All clients of a check are at one server: elsewhere one may not see yet what another has just written. The next check has the next server. */
static void choose_server(void) {
    static size_t turn;
    size_t count = 1;
    for (const char *comma = suite_hosts; (comma = strchr(comma, ',')); comma++) {
        count++;
    }
    const char *server = suite_hosts;
    for (size_t number = turn++ % count; number > 0; number--) {
        server = strchr(server, ',') + 1;
    }
    snprintf(suite_server, sizeof suite_server, "%.*s", (int)strcspn(server, ","), server);
}

static bool run(const struct check *check) {
    choose_server();
    snprintf(check_root, sizeof check_root, "%s/%s", root, check->name);
    struct client *maker = open_client();
    zoo_create(maker->zh, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    int made = zoo_create(maker->zh, check_root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    const char *failure = made == ZOK ? check->run() : reason("could not create %s: %s", check_root, zerror(made));
    if (failure) {
        printf("FAIL %s: %s\n", check->name, failure);
    } else {
        printf("ok %s\n", check->name);
    }
    fflush(stdout);
    close_all();
    return !failure;
}

/* Another process of this program, which opens a session, makes an ephemeral, prints the session's id, and dies without a goodbye. */
static int abandon_session(const char *path) {
    struct client *client = open_client();
    int rc = zoo_create(client->zh, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
    const clientid_t *id = zoo_client_id(client->zh);
    printf("%d %lld ", rc, (long long)id->client_id);
    for (size_t i = 0; i < sizeof id->passwd; i++) {
        printf("%02x", (unsigned char)id->passwd[i]);
    }
    printf("\n");
    fflush(stdout);
    _exit(0);
}

int main(int count, char **arguments) {
    const char *only = "";
    zoo_set_debug_level(0);
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--super") == 0 && i + 1 < count) {
            suite_super = arguments[++i];
        } else if (strcmp(arguments[i], "--only") == 0 && i + 1 < count) {
            only = arguments[++i];
        } else if (strcmp(arguments[i], "--no-extended-types") == 0) {
            suite_extended_types = false;
        } else if (strcmp(arguments[i], "--abandon-session") == 0 && i + 3 < count) {
            suite_timeout_ms = atoi(arguments[i + 1]);
            suite_hosts = arguments[i + 2];
            choose_server();
            return abandon_session(arguments[i + 3]);
        } else {
            suite_hosts = arguments[i];
        }
    }
    if (!suite_hosts) {
        fprintf(stderr, "usage: see run.sh --help\n");
        return 2;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(root, sizeof root, "/c-suite-%ld-%lx%lx", (long)getpid(), (long)now.tv_sec, now.tv_nsec);
    const struct check *groups[] = {node_checks, watch_checks, session_checks, async_checks};
    bool passed = true;
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++) {
        for (const struct check *check = groups[group]; check->name; check++) {
            if (strstr(check->name, only) && (suite_super || strcmp(check->name, "c_super_user") != 0)) {
                passed &= run(check);
            }
        }
    }
    struct client *cleaner = open_client();
    remove_tree(cleaner->zh, root);
    close_all();
    return passed ? 0 : 1;
}
