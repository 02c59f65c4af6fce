/* gen: a load generator for HTTP/1.1 servers on this machine.
 *
 * One thread, one epoll, N keep-alive connections, one request in flight on each. Closed loop: a connection sends as soon
 * as its answer is in. Open loop (--rate): requests have times at which they are meant to be sent, and latency counts from
 * those, so that a stalled server cannot hide the requests that its stall kept from being sent (coordinated omission).
 * The schedule is never stored: two cursors walk the same seeded sequence, one at what is due, one at what was sent.
 *
 * What is counted, over the whole run, warm-up included (an error while warming up is an error):
 *   lost          sent whole, no whole answer, and not the next case
 *   reset_reused  on a connection that had answered before, closed before the first byte of this answer: HTTP lets a
 *                 server do that, and a client retries
 *   unsent        never went out whole: the connection broke, or none came free until the end
 *   connect_errors, reconnects, status by code
 * and of the open loop: `missed` is due requests that this program noticed more than 1 ms late (its own fault, never the
 * server's), `queued` those that found every connection busy. Latencies are those of answers to requests of the measured
 * time, 2xx apart from refusals (429 and 503), once from when the request was meant to go out and once from when it did;
 * throughput is 2xx answers that came in within it. With --slice, each slice of the whole run tells what became of the
 * requests that were meant to go out in it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_MAX = 8192,         /* bytes of an answer's head */
    REQUESTS_MAX = 64 << 20, /* bytes of all different requests */
    CONNECTIONS_MAX = 4096,
    SECONDS_MAX = 3600,
    CONNECT_S = 4,           /* a SYN that found the backlog full is sent again after 1 and 3 s */
    VERSIONS_MAX = 64,
    SLICES_MAX = 10000,      /* 300 MB if every slice sees every latency; few pages of it are ever touched */
    SUB_BITS = 7,            /* 128 buckets an octave: no value is off by more than 1/128 */
    SUB = 1 << SUB_BITS,
    EVENTS = 256,
};
static const int64_t SECOND = 1000000000, MISSED_NS = 1000000, RETRY_NS = 10000000;

struct connection {
    enum { DOWN, CONNECTING, IDLE, BUSY } state;
    int fd;
    bool reused;        /* has carried an answer before */
    bool in_ring;       /* stands in the ring of idle ones */
    bool writing;       /* waits for room to write */
    bool in_body, last; /* the answer's head is in; it says Connection: close */
    bool retry_after;   /* it says when to come back */
    int status;
    const struct request *request;
    int64_t meant_ns;   /* when the request was meant to go out (open loop), or went out (closed) */
    int64_t sent_ns;    /* when it went out */
    size_t sent, got;   /* bytes of the request, bytes of the answer's head */
    uint64_t body_left;
    char head[HEAD_MAX];
};

struct request {
    const char *bytes;
    size_t length;
};

struct histogram {
    uint32_t buckets[(65 - SUB_BITS) * SUB]; /* an hour at the highest rate does not fill one */
    uint64_t n;
    int64_t max_ns;
    double sum_ns;
};

enum fate { OK, REFUSED, OTHER_STATUS, LOST, RESET_REUSED, UNSENT, FATES };
static const char *fate_names[] = {"ok", "refused", "other_status", "lost", "reset_reused", "unsent"};

struct slice {
    uint64_t answered;           /* answers that came in meanwhile, to whichever requests */
    uint64_t fates[FATES];       /* of the requests that were meant to go out in it */
    struct histogram latency;    /* of those answered with 2xx */
};

struct schedule {
    uint64_t random, count;
    double at_ns;       /* of request `count`, from the start */
};

struct version {
    char name[128];
    uint64_t count;
    int64_t first_monotonic_ns, first_wall_ns;
};

static struct {
    const char *host, *request_path, *version_header;
    int port, connections;
    double seconds, warmup_s, drain_s, rate, slice_s;
    bool poisson, drop_backlog;
    uint64_t seed, requests_max;
} opt = {.host = "127.0.0.1", .connections = 1, .seconds = 5, .drain_s = 5, .poisson = true, .requests_max = UINT64_MAX};

static struct {
    uint64_t requests, fates[FATES], connect_errors, reconnects, queued, missed, in_window, status[600], retry_after[600];
    int64_t max_lag_ns;
} count;

/* Of the measured time: by fate, OK or REFUSED; from when a request was meant to go out, and from when it did. */
static struct {
    struct histogram meant, sent;
} latency[2];

static struct sockaddr_storage address;
static socklen_t address_length;
static struct request *requests;
static size_t requests_n;
static struct connection *connections;
static int *ring, ring_head, ring_length, epoll_fd, busy, down;
static struct schedule due, sent;
static struct version versions[VERSIONS_MAX];
static int versions_n;
static struct slice *slices;
static int64_t slices_n, slice_ns;
static int64_t begin_ns, measure_ns, end_ns, retry_ns;
static volatile sig_atomic_t asked_to_end;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("gen: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(2);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* --- latencies: log-linear buckets, as in HdrHistogram --- */

static void record(struct histogram *h, int64_t ns)
{
    uint64_t value = ns > 0 ? ns : 0;
    int shift = value < SUB ? 0 : 63 - __builtin_clzll(value) - SUB_BITS;
    h->buckets[value < SUB ? value : (uint64_t)shift * SUB + (value >> shift)]++;
    h->n++;
    h->sum_ns += value;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

static int64_t highest_ns(size_t bucket)
{
    uint64_t shift = bucket < 2 * SUB ? 0 : bucket / SUB - 1;
    return ((bucket - shift * SUB + 1) << shift) - 1;
}

/* The highest value of the bucket in which the percentile lies: never flattering. */
static double percentile_us(const struct histogram *h, double percent)
{
    uint64_t rank = ceil(h->n * percent / 100), seen = 0;
    for (size_t at = 0; at < sizeof h->buckets / sizeof *h->buckets; at++) {
        seen += h->buckets[at];
        if (seen >= rank && seen)
            return (highest_ns(at) < h->max_ns ? highest_ns(at) : h->max_ns) / 1e3;
    }
    return h->max_ns / 1e3;
}

/* --- what becomes of requests --- */

static struct slice *slice_of(int64_t ns)
{
    int64_t at = slices_n ? (ns - begin_ns) / slice_ns : 0;
    return at < slices_n ? &slices[at] : NULL;
}

static void settle(int64_t meant_ns, enum fate fate)
{
    struct slice *slice = slice_of(meant_ns);
    count.fates[fate]++;
    if (slice)
        slice->fates[fate]++;
}

/* --- schedule --- */

static double uniform(uint64_t *state) /* splitmix64, in (0, 1] */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (((z ^ (z >> 31)) >> 11) + 1) * 0x1p-53;
}

static void advance(struct schedule *cursor)
{
    cursor->count++;
    if (opt.poisson)
        cursor->at_ns += -log(uniform(&cursor->random)) * SECOND / opt.rate;
    else
        cursor->at_ns = cursor->count * (double)SECOND / opt.rate;
}

static int64_t at_ns(const struct schedule *cursor)
{
    return begin_ns + (int64_t)cursor->at_ns;
}

/* --- connections --- */

static void watch(struct connection *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (c->writing ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        die("epoll_ctl: %s", strerror(errno));
}

static void hang_up(struct connection *c)
{
    if (c->state == BUSY)
        busy--;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = DOWN;
    c->reused = false;
    down++;
}

static void connect_failed(struct connection *c)
{
    count.connect_errors++;
    hang_up(c);
    retry_ns = now_ns() + RETRY_NS;
}

static void dial(struct connection *c)
{
    int yes = 1;
    down--;
    c->state = CONNECTING;
    c->writing = true;
    c->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(c->fd, (struct sockaddr *)&address, address_length) && errno != EINPROGRESS)
        connect_failed(c);
    else
        watch(c, EPOLL_CTL_ADD);
}

/* The connection ended, or its use did: say what became of its request, and dial again. */
static void broken(struct connection *c)
{
    if (c->state == CONNECTING) {
        connect_failed(c);
        return;
    }
    if (c->state == BUSY) {
        bool whole = c->sent == c->request->length;
        settle(c->meant_ns, c->reused && !c->got ? RESET_REUSED : whole ? LOST : UNSENT);
    }
    hang_up(c);
    count.reconnects++;
    dial(c);
}

static void push_request(struct connection *c)
{
    while (c->sent < c->request->length) {
        ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            broken(c);
            return;
        }
        if (n < 0)
            break;
        c->sent += n;
    }
    bool writing = c->sent < c->request->length;
    if (writing != c->writing) {
        c->writing = writing;
        watch(c, EPOLL_CTL_MOD);
    }
}

static void start(struct connection *c, int64_t meant_ns, int64_t now)
{
    c->state = BUSY;
    c->sent = c->got = 0;
    c->in_body = c->last = c->retry_after = false;
    c->meant_ns = meant_ns;
    c->sent_ns = now;
    c->request = &requests[count.requests % requests_n];
    busy++;
    count.requests++;
    push_request(c);
}

/* The connection can take a request: now (closed loop), or when one is due. */
static void rest(struct connection *c)
{
    c->state = IDLE;
    if (!opt.rate) {
        int64_t now = now_ns();
        if (begin_ns && now < end_ns && count.requests < opt.requests_max)
            start(c, now, now);
    } else if (!c->in_ring) {
        c->in_ring = true;
        ring[(ring_head + ring_length++) % opt.connections] = c - connections;
    }
}

static void connected(struct connection *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        connect_failed(c);
        return;
    }
    c->writing = false;
    watch(c, EPOLL_CTL_MOD);
    rest(c);
}

/* --- answers --- */

static void saw_version(const char *name, size_t length, int64_t now)
{
    struct version *v = versions, *end = versions + versions_n;
    while (v < end && (strlen(v->name) != length || memcmp(v->name, name, length)))
        v++;
    if (v == end) {
        if (versions_n == VERSIONS_MAX || length >= sizeof v->name)
            die("more than %d values of %s, or one longer than %zu", VERSIONS_MAX, opt.version_header, sizeof v->name);
        versions_n++;
        for (size_t at = 0; at < length; at++)
            v->name[at] = strchr("\"\\", name[at]) || name[at] < ' ' ? '?' : name[at];
        v->first_monotonic_ns = now;
        v->first_wall_ns = clock_ns(CLOCK_REALTIME);
    }
    v->count++;
}

static void answered(struct connection *c, bool closing)
{
    int64_t now = now_ns();
    bool ok = c->status >= 200 && c->status < 300;
    enum fate fate = ok ? OK : c->status == 429 || c->status == 503 ? REFUSED : OTHER_STATUS;
    struct slice *meant = slice_of(c->meant_ns), *current = slice_of(now);
    settle(c->meant_ns, fate);
    count.status[c->status]++;
    count.retry_after[c->status] += c->retry_after;
    count.in_window += ok && now >= measure_ns && now < end_ns;
    if (fate <= REFUSED && c->meant_ns >= measure_ns) {
        record(&latency[fate].meant, now - c->meant_ns);
        record(&latency[fate].sent, now - c->sent_ns);
    }
    if (meant && ok)
        record(&meant->latency, now - c->meant_ns);
    if (current)
        current->answered++;
    busy--;
    c->state = IDLE;
    c->reused = true;
    if (closing || c->last || c->sent < c->request->length)
        broken(c);
    else
        rest(c);
}

static bool named(const char *line, size_t length, const char *name)
{
    return strlen(name) == length && !strncasecmp(line, name, length);
}

/* Read the head in c->head[0 .. length): status, length of the body, whether the connection ends, the version. */
static void read_head(struct connection *c, size_t length)
{
    bool sized = false;
    const char *line = c->head, *end = c->head + length;
    if (length < 14 || memcmp(line, "HTTP/1.", 7) || (c->status = atoi(line + 9)) < 100 || c->status > 599)
        die("no HTTP/1 answer: %.60s", line);
    c->last = line[7] == '0';
    c->body_left = 0;
    while ((line = (char *)memchr(line, '\n', end - line) + 1) < end - 2) {
        const char *stop = memchr(line, '\r', end - line), *colon = memchr(line, ':', stop - line);
        if (!colon)
            die("no header: %.60s", line);
        const char *value = colon + 1;
        while (value < stop && (*value == ' ' || *value == '\t'))
            value++;
        size_t name = colon - line;
        if (named(line, name, "content-length")) {
            sized = true;
            c->body_left = strtoull(value, NULL, 10);
        } else if (named(line, name, "transfer-encoding")) {
            die("the answer is chunked; only answers with Content-Length are supported");
        } else if (named(line, name, "connection")) {
            c->last |= named(value, stop - value, "close");
        } else if (named(line, name, "retry-after")) {
            c->retry_after = true;
        } else if (opt.version_header && named(line, name, opt.version_header)) {
            saw_version(value, stop - value, now_ns());
        }
    }
    if (!sized && c->status >= 200 && c->status != 204 && c->status != 304)
        die("the answer has no Content-Length; only answers with one are supported");
}

/* Returns whether the answer is whole. */
static bool take(struct connection *c, size_t n, char *scratch)
{
    if (!c->in_body) {
        char *end;
        c->got += n;
        while ((end = memmem(c->head, c->got, "\r\n\r\n", 4))) {
            size_t head = end + 4 - c->head;
            read_head(c, head);
            if (c->status < 200) { /* an interim answer: the real one follows */
                memmove(c->head, c->head + head, c->got -= head);
                continue;
            }
            c->in_body = true;
            n = c->got - head;
            scratch = c->head + head;
            break;
        }
        if (!c->in_body && c->got == HEAD_MAX)
            die("the answer's head is longer than %d bytes", HEAD_MAX);
        if (!c->in_body)
            return false;
    }
    if (n > c->body_left)
        die("%" PRIu64 " bytes more than the answer's Content-Length: %.60s", n - c->body_left, scratch + c->body_left);
    c->body_left -= n;
    return !c->body_left;
}

static void readable(struct connection *c, bool closing)
{
    static char scratch[1 << 16];
    for (;;) {
        char *into = c->in_body || c->state != BUSY ? scratch : c->head + c->got;
        size_t room = into == scratch ? sizeof scratch : HEAD_MAX - c->got;
        ssize_t n = recv(c->fd, into, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            broken(c);
            return;
        }
        if (c->state != BUSY)
            die("an answer that nobody asked for: %.60s", scratch);
        if (take(c, n, into)) {
            answered(c, closing);
            return;
        }
    }
}

/* --- the loop --- */

static void turn(int64_t until_ns)
{
    static const sigset_t none; /* SIGTERM is blocked but for here, so that it cannot slip in between look and wait */
    struct epoll_event events[EVENTS];
    int64_t left = until_ns - now_ns();
    left = left > 0 ? left : 0;
    struct timespec wait = {left / SECOND, left % SECOND};
    int n = syscall(SYS_epoll_pwait2, epoll_fd, events, EVENTS, &wait, &none, 8);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11: spins in the last millisecond */
        n = epoll_pwait(epoll_fd, events, EVENTS, left / 1000000, &none);
    if (n < 0 && errno != EINTR)
        die("epoll: %s", strerror(errno));
    for (int at = 0; at < n; at++) {
        struct connection *c = events[at].data.ptr;
        uint32_t what = events[at].events;
        if (c->state == CONNECTING)
            connected(c);
        else if (what & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
            readable(c, what & (EPOLLHUP | EPOLLERR | EPOLLRDHUP));
        else if (what & EPOLLOUT)
            push_request(c);
    }
    if (down && now_ns() >= retry_ns)
        for (int at = 0; at < opt.connections; at++)
            if (connections[at].state == DOWN)
                dial(&connections[at]);
}

static struct connection *idle(void)
{
    while (ring_length) {
        struct connection *c = &connections[ring[ring_head]];
        ring_head = (ring_head + 1) % opt.connections;
        ring_length--;
        c->in_ring = false;
        if (c->state == IDLE)
            return c;
    }
    return NULL;
}

static void send_due(void)
{
    int64_t now = now_ns();
    for (; at_ns(&due) <= now && at_ns(&due) < end_ns && due.count < opt.requests_max; advance(&due)) {
        int64_t lag = now - at_ns(&due);
        count.missed += lag > MISSED_NS;
        count.queued += due.count - sent.count >= (uint64_t)ring_length;
        if (lag > count.max_lag_ns)
            count.max_lag_ns = lag;
    }
    struct connection *c;
    while (sent.count < due.count && !(opt.drop_backlog && now >= end_ns) && (c = idle())) {
        int64_t meant = at_ns(&sent);
        advance(&sent);
        start(c, meant, now_ns());
    }
}

static void connect_all(void)
{
    int64_t deadline = now_ns() + CONNECT_S * SECOND;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    down = opt.connections;
    for (int at = 0; at < opt.connections; at++)
        dial(&connections[at]);
    for (;;) {
        int ready = 0;
        for (int at = 0; at < opt.connections; at++)
            ready += connections[at].state == IDLE;
        if (ready == opt.connections)
            return;
        if (now_ns() >= deadline || asked_to_end)
            die("%d of %d connections to %s port %d within %d s", ready, opt.connections, opt.host, opt.port,
                CONNECT_S);
        turn(now_ns() + RETRY_NS);
    }
}

static void make_slices(void)
{
    slice_ns = opt.slice_s * SECOND;
    slices_n = (end_ns - begin_ns + slice_ns - 1) / slice_ns;
    if (slices_n > SLICES_MAX)
        die("--slice is %g; %g s of it are more than %d slices", opt.slice_s, (end_ns - begin_ns) / 1e9, SLICES_MAX);
    slices = calloc(slices_n, sizeof *slices);
    if (!slices)
        die("no memory for %" PRId64 " slices", slices_n);
}

static void drive(void)
{
    begin_ns = now_ns();
    measure_ns = begin_ns + (int64_t)(opt.warmup_s * SECOND);
    end_ns = measure_ns + (int64_t)(opt.seconds * SECOND);
    if (opt.slice_s)
        make_slices();
    due = sent = (struct schedule){.random = opt.seed};
    if (opt.rate && opt.poisson) {
        advance(&due);
        due.count = 0;
        sent = due;
    }
    if (!opt.rate)
        for (int at = 0; at < opt.connections; at++)
            rest(&connections[at]);
    for (;;) {
        int64_t now = now_ns();
        if (asked_to_end && now < end_ns)
            end_ns = now;
        if (opt.rate)
            send_due();
        bool nothing_left = !busy && (sent.count == due.count || (opt.drop_backlog && now >= end_ns));
        bool all_begun = (opt.rate ? due.count : count.requests) >= opt.requests_max;
        if (nothing_left && (now >= end_ns || all_begun))
            break;
        if (now >= end_ns + (int64_t)(opt.drain_s * SECOND))
            break;
        int64_t until = now < end_ns ? end_ns : end_ns + (int64_t)(opt.drain_s * SECOND);
        if (opt.rate && at_ns(&due) < end_ns && due.count < opt.requests_max)
            until = at_ns(&due);
        if (down && retry_ns < until)
            until = retry_ns;
        turn(until);
    }
    if (now_ns() < end_ns)
        end_ns = now_ns();
    for (int at = 0; at < opt.connections; at++)
        if (connections[at].state == BUSY)
            settle(connections[at].meant_ns, connections[at].sent == connections[at].request->length ? LOST : UNSENT);
    for (; sent.count < due.count; advance(&sent), count.requests++)
        settle(at_ns(&sent), UNSENT);
}

/* --- in and out --- */

static void print_by_status(const char *name, const uint64_t *counts)
{
    const char *comma = "";
    printf("\"%s\":{", name);
    for (int code = 0; code < 600; code++)
        if (counts[code]) {
            printf("%s\"%d\":%" PRIu64, comma, code, counts[code]);
            comma = ",";
        }
    printf("},");
}

static void print_fates(const uint64_t *fates)
{
    for (int at = 0; at < FATES; at++)
        printf("\"%s\":%" PRIu64 ",", fate_names[at], fates[at]);
}

static void print_latency(const char *name, const struct histogram *h)
{
    const char *comma = "";
    if (!h->n)
        return;
    printf(",\"%s\":{\"n\":%" PRIu64 ",\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,"
           "\"max_us\":%.3f,\"buckets\":{",
           name, h->n, h->sum_ns / h->n / 1e3, percentile_us(h, 50), percentile_us(h, 90), percentile_us(h, 99),
           percentile_us(h, 99.9), h->max_ns / 1e3);
    for (size_t at = 0; at < sizeof h->buckets / sizeof *h->buckets; at++)
        if (h->buckets[at]) {
            printf("%s\"%" PRId64 "\":%" PRIu32, comma, highest_ns(at), h->buckets[at]);
            comma = ",";
        }
    printf("}}");
}

static void print_slices(void)
{
    int64_t n = slices_n ? (end_ns - begin_ns + slice_ns - 1) / slice_ns : 0; /* it may have been ended early */
    printf(",\"slice_s\":%g,\"slices\":[", opt.slice_s);
    for (int64_t at = 0; at < n; at++) {
        const struct histogram *h = &slices[at].latency;
        printf("%s{", at ? "," : "");
        print_fates(slices[at].fates);
        printf("\"answered\":%" PRIu64, slices[at].answered);
        if (h->n)
            printf(",\"p50_us\":%.3f,\"p99_us\":%.3f,\"max_us\":%.3f", percentile_us(h, 50), percentile_us(h, 99),
                   h->max_ns / 1e3);
        printf("}");
    }
    printf("]");
}

static void print_versions(void)
{
    printf("\"versions\":{");
    for (int at = 0; at < versions_n; at++)
        printf("%s\"%s\":{\"count\":%" PRIu64 ",\"first_monotonic_ns\":%" PRId64 ",\"first_wall_ns\":%" PRId64 "}",
               at ? "," : "", versions[at].name, versions[at].count, versions[at].first_monotonic_ns,
               versions[at].first_wall_ns);
    printf("},");
}

static void report(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    double seconds = (end_ns - measure_ns) / 1e9;
    bool measured = latency[OK].meant.n && seconds > 0;
    printf("{\"requests\":%" PRIu64 ",", count.requests);
    print_fates(count.fates);
    print_by_status("status", count.status);
    print_by_status("retry_after", count.retry_after);
    print_versions();
    printf("\"connect_errors\":%" PRIu64 ",\"reconnects\":%" PRIu64 ",\"queued\":%" PRIu64 ",\"missed\":%" PRIu64
           ",\"max_lag_us\":%.1f,\"begin_monotonic_ns\":%" PRId64 ",\"seconds\":%.6f,\"cpu_share\":%.4f",
           count.connect_errors, count.reconnects, count.queued, count.missed, count.max_lag_ns / 1e3, begin_ns, seconds,
           cpu_s * 1e9 / (now_ns() - begin_ns));
    if (measured)
        printf(",\"throughput_per_s\":%.3f", count.in_window / seconds);
    print_latency("latency", &latency[OK].meant);
    print_latency("from_sent", &latency[OK].sent);
    print_latency("refused_latency", &latency[REFUSED].meant);
    print_latency("refused_from_sent", &latency[REFUSED].sent);
    print_slices();
    printf("}\n");
    if (fflush(stdout))
        die("writing the result: %s", strerror(errno));
    if (!measured)
        die("no request of the measured time was answered with 2xx");
}

/* The length of the request at `bytes`, which has a body if its head says so; 0 if it is not whole. */
static size_t request_length(const char *bytes, size_t room)
{
    const char *end = memmem(bytes, room, "\r\n\r\n", 4), *line = bytes;
    if (!end)
        return 0;
    size_t length = end + 4 - bytes, body = 0;
    while (line && line < end) {
        if (!strncasecmp(line, "content-length:", 15))
            body = strtoull(line + 15, NULL, 10);
        line = memchr(line, '\n', end - line);
        line = line ? line + 1 : NULL;
    }
    return body <= room - length ? length + body : 0;
}

static void read_requests(void)
{
    FILE *file = strcmp(opt.request_path, "-") ? fopen(opt.request_path, "rb") : stdin;
    if (!file)
        die("%s: %s", opt.request_path, strerror(errno));
    char *bytes = malloc(REQUESTS_MAX + 1);
    size_t size = bytes ? fread(bytes, 1, REQUESTS_MAX + 1, file) : 0;
    if (ferror(file) || !size || size > REQUESTS_MAX)
        die("%s: requests have 1 to %d bytes", opt.request_path, REQUESTS_MAX);
    fclose(file);
    for (size_t at = 0, length; at < size; at += length) {
        length = request_length(bytes + at, size - at);
        if (!length)
            die("%s: request %zu, at byte %zu, is not whole", opt.request_path, requests_n + 1, at);
        if (!(requests_n & (requests_n - 1))) /* at every power of two, room for as many again */
            requests = realloc(requests, (requests_n ? 2 * requests_n : 1) * sizeof *requests);
        if (!requests)
            die("no memory for %zu requests", requests_n);
        requests[requests_n++] = (struct request){bytes + at, length};
    }
}

/* Only this machine may ever be the target of a load test. */
static void resolve_loopback(void)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, opt.host, &four->sin_addr) == 1 && ntohl(four->sin_addr.s_addr) >> 24 == 127) {
        four->sin_family = AF_INET;
        four->sin_port = htons(opt.port);
        address_length = sizeof *four;
    } else if (inet_pton(AF_INET6, opt.host, &six->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr)) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(opt.port);
        address_length = sizeof *six;
    } else {
        die("%s is not a loopback address (127.0.0.0/8 or ::1); no other target is allowed", opt.host);
    }
}

static double number(const char *name, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high))
        die("--%s is %s; it must be a number from %g to %g", name, text, low, high);
    return value;
}

static void read_options(int argc, char **argv)
{
    static const char *names[] = {"host", "port", "request", "connections", "seconds", "warmup", "drain", "rate",
                                  "schedule", "seed", "requests", "expect-version-header", "slice", "backlog"};
    enum { HOST, PORT, REQUEST, CONNECTIONS, TIME, WARMUP, DRAIN, RATE, SCHEDULE, SEED, REQUESTS, VERSION, SLICE, BACKLOG, N };
    struct option options[N + 1] = {0};
    for (int at = 0; at < N; at++)
        options[at] = (struct option){names[at], required_argument, NULL, at};
    for (int at; (at = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (at == '?')
            exit(2);
        switch (at) {
        case HOST: opt.host = optarg; break;
        case PORT: opt.port = number(names[at], optarg, 1, 65535); break;
        case REQUEST: opt.request_path = optarg; break;
        case CONNECTIONS: opt.connections = number(names[at], optarg, 1, CONNECTIONS_MAX); break;
        case TIME: opt.seconds = number(names[at], optarg, 0.001, SECONDS_MAX); break;
        case WARMUP: opt.warmup_s = number(names[at], optarg, 0, SECONDS_MAX); break;
        case DRAIN: opt.drain_s = number(names[at], optarg, 0, SECONDS_MAX); break;
        case RATE: opt.rate = number(names[at], optarg, 0.001, 1e6); break;
        case SCHEDULE:
            opt.poisson = !strcmp(optarg, "poisson");
            if (!opt.poisson && strcmp(optarg, "constant"))
                die("--schedule is %s; it must be poisson or constant", optarg);
            break;
        case SEED: opt.seed = number(names[at], optarg, 0, 1e15); break;
        case REQUESTS: opt.requests_max = number(names[at], optarg, 1, 1e15); break;
        case VERSION: opt.version_header = optarg; break;
        case BACKLOG:
            opt.drop_backlog = !strcmp(optarg, "drop");
            if (!opt.drop_backlog && strcmp(optarg, "send"))
                die("--backlog is %s; it must be send or drop", optarg);
            break;
        case SLICE: opt.slice_s = number(names[at], optarg, 0.001, SECONDS_MAX); break;
        }
    }
    if (optind < argc || !opt.port || !opt.request_path)
        die("--port and --request FILE (whole requests one after the other, each with its Content-Length; - is standard"
            " input) are needed");
}

static void on_term(int signal)
{
    (void)signal;
    asked_to_end = 1;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    resolve_loopback();
    read_requests();
    connections = calloc(opt.connections, sizeof *connections);
    ring = calloc(opt.connections, sizeof *ring);
    if (!connections || !ring)
        die("no memory for %d connections", opt.connections);
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns; else each wait for a due request may be 50 us late */
    connect_all();
    drive();
    report();
    return 0;
}
