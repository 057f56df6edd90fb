// A process that calls at once: `newborn PORT BORN_NS MILLISECONDS` sends requests to 127.0.0.1 over one kept connection for
// so long, each as soon as it has its answer. The target of each is /t/INDEX-AGE/hello, AGE in nanoseconds since BORN_NS
// (CLOCK_MONOTONIC). Writes how many it sent. Ends with 0 if all were answered.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int64_t born = atoll(arguments[2]), end = now() + atoll(arguments[3]) * 1000000;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), sent = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return 1;
    for (int64_t time; (time = now()) < end; sent++) {
        char request[256], answer[4096];
        int length = snprintf(request, sizeof request, "GET /t/%d-%lld/hello HTTP/1.1\r\nHost: localhost\r\n\r\n", sent,
                              (long long)(time - born));
        if (write(fd, request, length) != length) return 1;
        // Head and body may come apart; the body ends the answer with a line feed, and the head never ends with one alone.
        size_t used = 0;
        do {
            ssize_t got = read(fd, answer + used, sizeof answer - 1 - used);
            if (got <= 0) return 1;
            used += got;
            answer[used] = 0;
        } while (!strstr(answer, "\r\n\r\n") || !strncmp(answer + used - 2, "\r\n", 2));
        if (strncmp(answer, "HTTP/1.1 200 ", 13)) return 1;
    }
    printf("sent %d\n", sent);
    return 0;
}
