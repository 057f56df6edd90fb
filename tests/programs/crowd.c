// Many processes with many connections: `crowd PROCESSES CONNECTIONS SECONDS`. Each process opens that many connections to
// itself over loopback and keeps them. Writes "connected" when all are open. At SIGUSR1, each process sends itself a request
// a second for so long, over each connection in turn, and answers them; writes "served N" then, and waits to be ended.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char request[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void must(int holds, const char *what) {
    if (holds) return;
    perror(what);
    _exit(1);
}

static void wait_seconds(double seconds) {
    struct timespec time = {.tv_sec = seconds, .tv_nsec = (seconds - (long)seconds) * 1e9};
    nanosleep(&time, NULL);
}

// Opens a connection to oneself; both ends.
static void open_pair(int listener, int *ends) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    must(!getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(ends[0], (struct sockaddr *)&address, size), "connect");
    ends[1] = accept(listener, NULL, NULL);
    must(ends[1] >= 0, "accept");
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(!bind(listener, (struct sockaddr *)&address, sizeof address) && !listen(listener, 8), "listen");
    return listener;
}

static void exchange(const int *ends) {
    char piece[256];
    must(write(ends[0], request, sizeof request - 1) == sizeof request - 1, "write a request");
    must(read(ends[1], piece, sizeof piece) == sizeof request - 1, "read a request");
    must(write(ends[1], answer, sizeof answer - 1) == sizeof answer - 1, "write an answer");
    must(read(ends[0], piece, sizeof piece) == sizeof answer - 1, "read an answer");
}

// One of the crowd: tells by a byte when it is connected and when it has served, and begins at the pipe's end.
static void live(int connections, int requests, double share, int begin, int done) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int(*ends)[2] = calloc(connections, sizeof *ends), listener = listen_anywhere();
    char byte = 'x';
    for (int index = 0; index < connections; index++) open_pair(listener, ends[index]);
    must(write(done, &byte, 1) == 1, "tell");
    must(read(begin, &byte, 1) == 0, "begin");
    wait_seconds(share);
    for (int index = 0; index < requests; index++) {
        exchange(ends[index % connections]);
        wait_seconds(1);
    }
    must(write(done, &byte, 1) == 1, "tell");
    for (;;) pause();
}

static void hear(int done, int processes) {
    char byte;
    for (int index = 0; index < processes; index++) must(read(done, &byte, 1) == 1, "hear");
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int processes = atoi(arguments[1]), connections = atoi(arguments[2]);
    int requests = atoi(arguments[3]), begin[2], done[2], signal;
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    must(!pipe(begin) && !pipe(done), "pipe");
    for (int index = 0; index < processes; index++) {
        pid_t pid = fork();
        must(pid >= 0, "fork");
        if (pid == 0) {
            close(begin[1]);
            live(connections, requests, (double)index / processes, begin[0], done[1]);
        }
    }
    hear(done[0], processes);
    printf("connected\n");
    fflush(stdout);
    sigwait(&awaited, &signal);
    close(begin[1]);
    hear(done[0], processes);
    printf("served %ld\n", (long)processes * requests);
    fflush(stdout);
    for (;;) pause();
}
