// The test function in C: sockets, a thread per connection. Contract: ../CONTRACT.md.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 65536, BODY_BYTES = 65536, FAN_MAX = 64 };

struct connection {
    int fd;
    char buffer[HEAD_BYTES + 1];
    size_t used; // bytes in the buffer that no request has consumed
    long late_ms;
};

struct request {
    char method[16], target[8192], path[8192], query[8192];
    char *headers; // lines, each ended by \r\n; the last one too
    bool http10, keep_alive, chunked, expects_continue, is_head;
    long long content_length;
    long long started;
};

struct answer {
    int status;
    char *body;
    size_t length;
};

static int truth = -1;
static char filler[BODY_BYTES];

static long long clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

static bool send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes += sent;
        length -= sent;
    }
    return true;
}

// More bytes into the buffer: false when there are none to come or no room.
static bool fill(struct connection *connection) {
    if (connection->used == HEAD_BYTES) return false;
    ssize_t got = recv(connection->fd, connection->buffer + connection->used, HEAD_BYTES - connection->used, 0);
    if (got <= 0) return false;
    connection->used += got;
    connection->buffer[connection->used] = 0;
    return true;
}

static void consume(struct connection *connection, size_t length) {
    connection->used -= length;
    memmove(connection->buffer, connection->buffer + length, connection->used + 1);
}

// The value of a header in lines, or NULL. It ends at \r.
static const char *header(const char *lines, const char *name) {
    size_t length = strlen(name);
    for (const char *line = lines; *line;) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') return line + length + 1 + strspn(line + length + 1, " \t");
        const char *end = strstr(line, "\r\n");
        if (!end) return NULL;
        line = end + 2;
    }
    return NULL;
}

static bool header_has(const char *lines, const char *name, const char *word) {
    const char *value = header(lines, name);
    if (!value) return false;
    char copy[256];
    snprintf(copy, sizeof copy, "%.*s", (int)strcspn(value, "\r"), value);
    return strcasestr(copy, word) != NULL;
}

// /t/<anything>/route?query into its parts; what follows /hop is cut off.
static void split_target(struct request *request) {
    const char *path = request->target;
    const char *query = strchr(path, '?');
    size_t length = query ? (size_t)(query - path) : strlen(path);
    strcpy(request->query, query ? query + 1 : "");
    if (strncmp(path, "/t/", 3) == 0) {
        const char *rest = memchr(path + 3, '/', length - 3);
        if (rest) {
            length -= rest - path;
            path = rest;
        }
    }
    if (strncmp(path, "/hop/", 5) == 0) length = strlen("/hop");
    snprintf(request->path, sizeof request->path, "%.*s", (int)length, path);
}

// Reads and consumes a head; the request's headers are a copy to be freed.
static bool read_request(struct connection *connection, struct request *request) {
    char *end;
    if (connection->late_ms) {
        struct pollfd readable = {connection->fd, POLLIN, 0};
        poll(&readable, 1, -1);
        sleep_ms(connection->late_ms);
        connection->late_ms = 0;
    }
    connection->buffer[connection->used] = 0;
    while (!(end = strstr(connection->buffer, "\r\n\r\n")))
        if (!fill(connection)) return false;
    int minor;
    if (sscanf(connection->buffer, "%15s %8191s HTTP/1.%d", request->method, request->target, &minor) != 3) return false;
    char *lines = strstr(connection->buffer, "\r\n") + 2;
    end[2] = 0;
    request->headers = strdup(lines > end ? "" : lines);
    consume(connection, end + 4 - connection->buffer);
    const char *length = header(request->headers, "content-length");
    request->content_length = length ? atoll(length) : 0;
    request->chunked = header_has(request->headers, "transfer-encoding", "chunked");
    request->expects_continue = header_has(request->headers, "expect", "100-continue");
    request->http10 = minor == 0;
    request->keep_alive = request->http10 ? header_has(request->headers, "connection", "keep-alive")
                                          : !header_has(request->headers, "connection", "close");
    request->is_head = strcmp(request->method, "HEAD") == 0;
    split_target(request);
    request->started = clock_ns(CLOCK_MONOTONIC);
    return true;
}

static bool discard(struct connection *connection, long long length) {
    long long buffered = length < (long long)connection->used ? length : (long long)connection->used;
    consume(connection, buffered);
    char piece[BODY_BYTES];
    for (length -= buffered; length > 0;) {
        ssize_t got = recv(connection->fd, piece, length < BODY_BYTES ? length : BODY_BYTES, 0);
        if (got <= 0) return false;
        length -= got;
    }
    return true;
}

// One line into `line`, without its end.
static bool read_line(struct connection *connection, char *line, size_t room) {
    char *end;
    while (!(end = strstr(connection->buffer, "\r\n")))
        if (!fill(connection)) return false;
    snprintf(line, room, "%.*s", (int)(end - connection->buffer), connection->buffer);
    consume(connection, end + 2 - connection->buffer);
    return true;
}

// Reads a request's body: its bytes, or -1.
static long long read_body(struct connection *connection, const struct request *request) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (request->expects_continue && !send_all(connection->fd, go_on, strlen(go_on))) return -1;
    if (!request->chunked) return discard(connection, request->content_length) ? request->content_length : -1;
    char line[256];
    long long total = 0, size;
    do {
        if (!read_line(connection, line, sizeof line)) return -1;
        size = strtoll(line, NULL, 16);
        if (!discard(connection, size)) return -1;
        total += size;
    } while (size > 0 && read_line(connection, line, sizeof line));
    while (read_line(connection, line, sizeof line) && *line) {
    }
    return total;
}

// A query parameter, URL-decoded; empty when absent.
static void parameter(const struct request *request, const char *name, char *value, size_t room) {
    size_t length = strlen(name), used = 0;
    const char *at = request->query;
    while (at && !(strncmp(at, name, length) == 0 && at[length] == '=')) at = (at = strchr(at, '&')) ? at + 1 : NULL;
    for (at = at ? at + length + 1 : ""; *at && *at != '&' && used + 1 < room; at++) {
        unsigned byte;
        if (*at == '%' && isxdigit(at[1]) && isxdigit(at[2]) && sscanf(at + 1, "%2x", &byte) == 1) {
            value[used++] = (char)byte;
            at += 2;
        } else {
            value[used++] = *at == '+' ? ' ' : *at;
        }
    }
    value[used] = 0;
}

static long long number(const struct request *request, const char *name) {
    char value[32];
    parameter(request, name, value, sizeof value);
    return atoll(value);
}

// Sends a head; `framing` is a header line with its \r\n, or empty.
static bool head(struct connection *connection, const struct request *request, int status, const char *kind, const char *framing) {
    char text[512];
    int length = snprintf(text, sizeof text, "HTTP/1.%d %d Status\r\nContent-Type: %s\r\n%s%s\r\n", request->http10 ? 0 : 1, status, kind,
                          framing, request->keep_alive ? (request->http10 ? "Connection: keep-alive\r\n" : "") : "Connection: close\r\n");
    return send_all(connection->fd, text, length);
}

static bool head_of(struct connection *connection, const struct request *request, int status, long long length) {
    char framing[64] = "";
    if (status != 204 && status != 304) snprintf(framing, sizeof framing, "Content-Length: %lld\r\n", length);
    return head(connection, request, status, "text/plain", framing);
}

static bool bytes(struct connection *connection, const struct request *request, int status, const char *body, size_t length) {
    if (!head_of(connection, request, status, length)) return false;
    return request->is_head || send_all(connection->fd, body, length);
}

static bool text(struct connection *connection, const struct request *request, int status, const char *format, ...) {
    char body[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(body, sizeof body, format, arguments);
    va_end(arguments);
    return bytes(connection, request, status, body, length);
}

static bool stream(struct connection *connection, struct request *request) {
    bool sse = number(request, "sse"), chunked = !request->http10;
    if (!chunked) request->keep_alive = false;
    if (!head(connection, request, 200, sse ? "text/event-stream" : "text/plain", chunked ? "Transfer-Encoding: chunked\r\n" : "")) return false;
    for (long long i = 1; i <= number(request, "n"); i++) {
        if (i > 1) sleep_ms(number(request, "ms"));
        char piece[64], chunk[96];
        int length = snprintf(piece, sizeof piece, sse ? "data: piece %lld\n\n" : "piece %lld\n", i);
        if (chunked) length = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", length, piece);
        if (!send_all(connection->fd, chunked ? chunk : piece, length)) return false;
    }
    return !chunked || send_all(connection->fd, "0\r\n\r\n", 5);
}

static bool big(struct connection *connection, const struct request *request) {
    long long left = number(request, "bytes");
    if (!head_of(connection, request, 200, left)) return false;
    for (; left > 0; left -= BODY_BYTES)
        if (!send_all(connection->fd, filler, left < BODY_BYTES ? left : BODY_BYTES)) return false;
    return true;
}

static bool file(struct connection *connection, const struct request *request) {
    long long left = number(request, "bytes");
    int sparse = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (sparse < 0 || ftruncate(sparse, left) < 0 || !head_of(connection, request, 200, left)) left = -1;
    while (left > 0) {
        ssize_t sent = sendfile(connection->fd, sparse, NULL, left);
        left = sent > 0 ? left - sent : -1;
    }
    close(sparse);
    return left == 0;
}

// The body of an answer that was read to its end, chunks put together in place.
static size_t join_chunks(char *body, size_t length) {
    char *from = body, *to = body, *end = body + length;
    while (from < end) {
        size_t size = strtoull(from, &from, 16);
        if (!size || !(from = memmem(from, end - from, "\r\n", 2)) || size > (size_t)(end - from - 2)) break;
        memmove(to, from + 2, size);
        to += size;
        from += 2 + size + 2;
    }
    return to - body;
}

static int dial(const char *base) {
    char host[64] = "", port[8] = "80";
    if (sscanf(base, "http://[%63[^]]]:%7[0-9]", host, port) < 1) sscanf(base, "http://%63[^:/]:%7[0-9]", host, port);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    bool is_six = inet_pton(AF_INET6, host, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, host, &four.sin_addr) != 1) return -1;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    if (fd >= 0 && connect(fd, address, is_six ? sizeof six : sizeof four) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static char *read_to_end(int fd, size_t *length) {
    size_t room = BODY_BYTES, used = 0;
    char *all = malloc(room + 1);
    for (ssize_t got; (got = recv(fd, all + used, room - used, 0)) > 0;) {
        used += got;
        if (used == room) all = realloc(all, (room *= 2) + 1);
    }
    all[used] = 0;
    *length = used;
    return all;
}

static struct answer fail(char *all, const char *why) {
    free(all);
    return (struct answer){502, strdup(why), strlen(why)};
}

// Requests base + path over a new connection, with header lines as given; the body is to be freed.
static struct answer exchange(const char *base, const char *path, const char *lines) {
    char request[2 * 8192 + 256];
    int fd = dial(base), length;
    if (fd < 0) return fail(NULL, "cannot connect\n");
    length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", path, base + strlen("http://"),
                      lines);
    size_t used = 0;
    char *all = send_all(fd, request, length) ? read_to_end(fd, &used) : NULL;
    close(fd);
    char *end = all ? strstr(all, "\r\n\r\n") : NULL;
    int status;
    if (!end || sscanf(all, "HTTP/1.%*d %d", &status) != 1) return fail(all, "no answer\n");
    char *body = end + 4;
    size_t body_length = used - (body - all);
    end[2] = 0;
    const char *expected = header(all, "content-length");
    if (header_has(all, "transfer-encoding", "chunked")) body_length = join_chunks(body, body_length);
    else if (expected && strtoull(expected, NULL, 10) != body_length) return fail(all, "the answer was cut off\n");
    memmove(all, body, body_length);
    return (struct answer){status, all, body_length};
}

static struct answer call(const char *path) {
    const char *base = getenv("NEXT");
    return exchange(base ? base : "", path, "");
}

static void *call_status(void *path) {
    struct answer answer = call(path);
    free(answer.body);
    return (void *)(long)answer.status;
}

static bool fan(struct connection *connection, const struct request *request) {
    char path[8192], line[FAN_MAX * 12 + 8] = "fan ";
    pthread_t threads[FAN_MAX];
    long long n = number(request, "n") < FAN_MAX ? number(request, "n") : FAN_MAX;
    parameter(request, "path", path, sizeof path);
    for (long long i = 0; i < n; i++) pthread_create(&threads[i], NULL, call_status, path);
    for (long long i = 0; i < n; i++) {
        void *status;
        pthread_join(threads[i], &status);
        sprintf(line + strlen(line), i ? ",%d" : "%d", (int)(long)status);
    }
    return text(connection, request, 200, "%s\n", line);
}

static bool chain(struct connection *connection, const struct request *request) {
    char path[8192];
    parameter(request, "path", path, sizeof path);
    struct answer answer = call(path);
    bool sent = bytes(connection, request, answer.status, answer.body, answer.length);
    free(answer.body);
    return sent;
}

// A node of a plan.
struct node {
    int port;
    char target[256], mode, children[64];
    long before_ms, after_ms;
};

static bool find_node(const char *plan, int index, struct node *node) {
    for (; plan && index > 0; index--) plan = (plan = strchr(plan, '|')) ? plan + 1 : NULL;
    *node->children = 0;
    return plan && sscanf(plan, "%d;%255[^;];%ld;%ld;%c;%63[0-9,]", &node->port, node->target, &node->before_ms, &node->after_ms, &node->mode,
                          node->children) >= 5;
}

// A plan and which of its nodes to request.
struct child {
    const char *plan;
    int index;
};

static void *hop_to(void *argument) {
    struct child *child = argument;
    struct node node;
    char base[64], lines[8192];
    if (!find_node(child->plan, child->index, &node)) return (void *)false;
    snprintf(base, sizeof base, "http://127.0.0.1:%d", node.port);
    snprintf(lines, sizeof lines, "X-Plan: %s\r\nX-Node: %d\r\n", child->plan, child->index);
    struct answer answer = exchange(base, node.target, lines);
    free(answer.body);
    return (void *)(long)(answer.status == 200);
}

// Requests the children: whether all went well.
static bool hop_to_all(const char *plan, const struct node *node) {
    struct child children[FAN_MAX];
    pthread_t threads[FAN_MAX];
    int count = 0;
    bool whole = true;
    for (const char *at = node->children; *at && count < FAN_MAX; at += strcspn(at, ","), at += *at == ',')
        children[count++] = (struct child){plan, atoi(at)};
    for (int i = 0; i < count; i++) {
        if (node->mode == 'p') pthread_create(&threads[i], NULL, hop_to, &children[i]);
        else whole &= (bool)hop_to(&children[i]);
    }
    for (int i = 0; node->mode == 'p' && i < count; i++) {
        void *done;
        pthread_join(threads[i], &done);
        whole &= (bool)done;
    }
    return whole;
}

// Follows a plan's node.
static bool hop(struct connection *connection, const struct request *request) {
    const char *value = header(request->headers, "x-plan"), *index = header(request->headers, "x-node");
    char *plan = value ? strndup(value, strcspn(value, "\r")) : NULL;
    struct node node;
    bool whole = plan && index && find_node(plan, atoi(index), &node);
    if (whole) {
        sleep_ms(node.before_ms);
        whole = hop_to_all(plan, &node);
        sleep_ms(node.after_ms);
    }
    free(plan);
    return text(connection, request, whole ? 200 : 502, whole ? "ok\n" : "a child failed\n");
}

static bool burn(struct connection *connection, const struct request *request) {
    long long began = clock_ns(CLOCK_THREAD_CPUTIME_ID), burned;
    while ((burned = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) < number(request, "ms") * 1000000) {
    }
    return text(connection, request, 200, "cpu_ns=%lld\n", burned);
}

static bool echo_headers(struct connection *connection, const struct request *request) {
    char *lines = strdup(request->headers), *to = lines;
    for (const char *from = request->headers; *from; from++)
        if (*from != '\r') *to++ = *from;
    bool sent = bytes(connection, request, 200, lines, to - lines);
    free(lines);
    return sent;
}

static bool upload(struct connection *connection, const struct request *request) {
    long long length = read_body(connection, request);
    if (length < 0) return false;
    sleep_ms(number(request, "delay"));
    return text(connection, request, 200, "bytes=%lld\n", length);
}

static void record(const struct request *request) {
    char line[8192 + 128];
    if (truth < 0) return;
    int length = snprintf(line, sizeof line, "{\"path\":\"%s\",\"pid\":%d,\"started_ns\":%lld,\"ended_ns\":%lld}\n", request->target, getpid(),
                          request->started, clock_ns(CLOCK_MONOTONIC));
    if (write(truth, line, length) < 0) perror("TRUTH");
}

static bool partial(struct connection *connection, const struct request *request) {
    if (head_of(connection, request, 200, 1000)) send_all(connection->fd, filler, 100);
    if (strcmp(request->path, "/die") == 0) {
        record(request);
        _exit(3);
    }
    struct linger at_once = {1, 0};
    if (number(request, "reset")) setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return false;
}

// Answers a request: whether the connection may go on.
static bool answer(struct connection *connection, struct request *request) {
    const char *path = request->path;
    bool sent;
    if (strcmp(path, "/upload") != 0 && read_body(connection, request) < 0) return false;
    if (strcmp(path, "/hello") == 0) sent = text(connection, request, 200, "hello from c\n");
    else if (strcmp(path, "/delay") == 0) {
        sleep_ms(number(request, "ms"));
        sent = text(connection, request, 200, "delayed %lld\n", number(request, "ms"));
    } else if (strcmp(path, "/stream") == 0) sent = stream(connection, request);
    else if (strcmp(path, "/big") == 0) sent = big(connection, request);
    else if (strcmp(path, "/file") == 0) sent = file(connection, request);
    else if (strcmp(path, "/upload") == 0) sent = upload(connection, request);
    else if (strcmp(path, "/error") == 0) {
        int status = number(request, "status");
        sent = text(connection, request, status, status == 204 || status == 304 ? "" : "status %d\n", status);
    } else if (strcmp(path, "/abort") == 0 || strcmp(path, "/die") == 0) sent = partial(connection, request);
    else if (strcmp(path, "/chain") == 0) sent = chain(connection, request);
    else if (strcmp(path, "/fan") == 0) sent = fan(connection, request);
    else if (strcmp(path, "/hop") == 0) sent = hop(connection, request);
    else if (strcmp(path, "/burn") == 0) sent = burn(connection, request);
    else if (strcmp(path, "/late") == 0) {
        sent = text(connection, request, 200, "late %lld\n", number(request, "ms"));
        connection->late_ms = number(request, "ms");
    } else if (strcmp(path, "/echo-headers") == 0) sent = echo_headers(connection, request);
    else sent = text(connection, request, 404, "not found\n");
    return sent && request->keep_alive;
}

static void *serve(void *argument) {
    struct connection *connection = argument;
    bool go_on = true;
    while (go_on) {
        struct request request;
        if (!read_request(connection, &request)) break;
        go_on = answer(connection, &request);
        record(&request);
        free(request.headers);
    }
    close(connection->fd);
    free(connection);
    return NULL;
}

static int listen_on_path(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) return -1;
    printf("listening %s\n", path);
    return fd;
}

static int listen_on_port(const char *host, int port) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_six = inet_pton(AF_INET6, host, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, host, &four.sin_addr) != 1) return -1;
    struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t length = is_six ? sizeof six : sizeof four;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_six) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address, length) < 0 || listen(fd, 1024) < 0 || getsockname(fd, address, &length) < 0) return -1;
    printf("listening %d\n", ntohs(is_six ? six.sin6_port : four.sin_port));
    return fd;
}

int main(void) {
    const char *host = getenv("HOST"), *port = getenv("PORT"), *path = getenv("UNIX"), *truth_path = getenv("TRUTH");
    signal(SIGPIPE, SIG_IGN);
    memset(filler, 'x', sizeof filler);
    if (truth_path) truth = open(truth_path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
    int listener = path ? listen_on_path(path) : listen_on_port(host ? host : "127.0.0.1", port ? atoi(port) : 0);
    if (listener < 0) {
        perror("listen");
        return 1;
    }
    fflush(stdout);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept(listener, NULL, NULL), on = 1;
        if (fd < 0) continue;
        if (!path) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        connection->fd = fd;
        pthread_t thread;
        if (pthread_create(&thread, &detached, serve, connection) != 0) {
            close(fd);
            free(connection);
        }
    }
}
