// A client that lives for one request: `client PORT TARGET MILLISECONDS` sends it to 127.0.0.1 over a connection of its
// own, reads the answer to its end, and lingers. Ends with 0 if the answer is a 200.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count != 4) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char request[1024], answer[4096];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", arguments[2]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, request, length) != length) return 1;
    size_t used = 0;
    for (ssize_t got; (got = read(fd, answer + used, sizeof answer - 1 - used)) > 0;) used += got;
    answer[used] = 0;
    usleep(atoi(arguments[3]) * 1000);
    return strncmp(answer, "HTTP/1.1 200 ", 13) != 0;
}
