// A process that opens connections: `opener PORT PER_SECOND SECONDS` opens that many to 127.0.0.1 a second, evenly, for so long,
// sends one request over each, reads its answer to the end and closes. Who is late catches up. Writes "opened N".
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char request[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

static void must(int holds, const char *what) {
    if (holds) return;
    perror(what);
    _exit(1);
}

static void call(const struct sockaddr_in *address) {
    char answer[4096];
    size_t used = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(fd, (const struct sockaddr *)address, sizeof *address), "connect");
    must(write(fd, request, sizeof request - 1) == sizeof request - 1, "write");
    for (ssize_t got; (got = read(fd, answer + used, sizeof answer - used)) > 0;) used += got;
    must(used > 12 && !strncmp(answer, "HTTP/1.1 200", 12), "answer");
    close(fd);
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int64_t rate = atoi(arguments[2]), total = rate * atoi(arguments[3]);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t index = 0; index < total; index++) {
        int64_t due = start.tv_nsec + index * 1000000000 / rate;
        struct timespec at = {.tv_sec = start.tv_sec + due / 1000000000, .tv_nsec = due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        call(&address);
    }
    printf("opened %lld\n", (long long)total);
    return 0;
}
