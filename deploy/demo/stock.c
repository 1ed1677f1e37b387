/* How many copies are in stock. Fails on purpose: every FAIL_EVERYth request gets 500 (0: never).
 * C library only; build with `cc -O2 -o stock stock.c`. One process a connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int client, atomic_ulong *requests, unsigned long fail_every) {
    char head[16384];
    size_t length = 0;
    for (;;) {
        char *end;
        head[length] = 0;
        while ((end = strstr(head, "\r\n\r\n")) == NULL) {
            if (length + 1 >= sizeof head) return;
            ssize_t got = read(client, head + length, sizeof head - 1 - length);
            if (got <= 0) return;
            length += (size_t)got;
            head[length] = 0;
        }
        unsigned long number = atomic_fetch_add(requests, 1) + 1;
        int fails = fail_every != 0 && number % fail_every == 0 && strncmp(head, "GET /healthz", 12) != 0;
        const char *status = fails ? "500 Internal Server Error" : "200 OK";
        const char *body = fails ? "{\"error\": 500, \"reason\": \"the stock room is closed for a moment\"}\n"
                                 : "{\"service\": \"stock\", \"language\": \"C\", \"copies\": 7}\n";
        char answer[512];
        int size = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                            status, strlen(body), body);
        if (write(client, answer, (size_t)size) != size) return;
        size_t used = (size_t)(end + 4 - head);
        memmove(head, head + used, length - used);
        length -= used;
    }
}

int main(void) {
    const char *port = getenv("PORT"), *every = getenv("FAIL_EVERY");
    unsigned long fail_every = every ? strtoul(every, NULL, 10) : 4;
    atomic_ulong *requests = mmap(NULL, sizeof *requests, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "9080"))};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGCHLD, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (requests == MAP_FAILED || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror("stock");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve(client, requests, fail_every);
            return 0;
        }
        close(client);
    }
}
