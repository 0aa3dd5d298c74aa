/* The frame of the C suite: handles with a log of their events, checks that return the reason of their failure.
 *
 * A check returns NULL or a message. It waits on its handle's condition or on a reply, never by sleeping, at most WAIT_SECONDS.
 * Whatever handles it opened are closed after it. run.sh adds the counts and the watchdog around the whole program. */
#ifndef RINGKEEPER_C_SUITE_H
#define RINGKEEPER_C_SUITE_H

#define THREADED
#include <zookeeper/zookeeper.h>

#include <pthread.h>
#include <stdbool.h>

enum { WAIT_SECONDS = 20, TIMEOUT_MS = 15000, SHORT_TIMEOUT_MS = 4000, LOG_MAX = 1200, ENTRY_BYTES = 256, PATH_BYTES = 512 };

/* A connection and what it was told, in order. */
struct client {
    zhandle_t *zh;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool connected;
    bool expired;
    int count;
    char log[LOG_MAX][ENTRY_BYTES];
};

struct check {
    const char *name;
    const char *(*run)(void);
};

extern const char *suite_hosts;
extern char suite_server[]; /* that of the running check */
extern const char *suite_super;
extern bool suite_extended_types;
extern int suite_timeout_ms; /* what new sessions ask for */

/* A path below the running check's own node, in one of a few rotating buffers. */
const char *at(const char *name);

/* A message built as printf does, for a failed check to return. */
const char *reason(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A connected client, or one that resumes `id` (then the caller waits for what it expects). Aborts the program on no memory. */
struct client *open_client(void);
struct client *resume_client(const clientid_t *id);

/* Close a client before the check ends. */
void close_client(struct client *client);

/* Append to the client's log. */
void note(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wait until the log has `count` entries; false after WAIT_SECONDS. */
bool await_log(struct client *client, int count);

/* Wait until the session is connected, or expired. */
bool await_connected(struct client *client);
bool await_expired(struct client *client);

/* A watcher that logs "<type> <path>" into the client that is its context. */
void log_event(zhandle_t *zh, int type, int state, const char *path, void *context);

/* A round trip: every event that the server sent before is in the log afterwards. */
bool settle(struct client *client);

extern const struct check node_checks[];
extern const struct check watch_checks[];
extern const struct check session_checks[];
extern const struct check async_checks[];

#define EXPECT_INT(actual, wanted)                                                                         \
    do {                                                                                                   \
        long long actual_ = (actual), wanted_ = (wanted);                                                  \
        if (actual_ != wanted_)                                                                            \
            return reason("%s: expected %lld, got %lld (line %d)", #actual, wanted_, actual_, __LINE__); \
    } while (0)

#define EXPECT_TEXT(actual, wanted)                                                                        \
    do {                                                                                                   \
        const char *actual_ = (actual), *wanted_ = (wanted);                                               \
        if (strcmp(actual_, wanted_) != 0)                                                                 \
            return reason("%s: expected %s, got %s (line %d)", #actual, wanted_, actual_, __LINE__);     \
    } while (0)

#define EXPECT(holds)                                                        \
    do {                                                                     \
        if (!(holds))                                                        \
            return reason("not so: %s (line %d)", #holds, __LINE__);       \
    } while (0)

#endif
