/* lookup NAME...: getaddrinfo for both families, one line for each name: NAME MILLISECONDS ADDRESSES|ERROR */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

int main(int count, char **names) {
    for (int i = 1; i < count; i++) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        int error = getaddrinfo(names[i], NULL, &hints, &found);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9;
        printf("%s %.1f", names[i], seconds * 1000);
        if (error) printf(" error %s", gai_strerror(error));
        for (struct addrinfo *one = found; one; one = one->ai_next) {
            char text[64];
            getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
            printf(" %s", text);
        }
        puts("");
        if (found) freeaddrinfo(found);
    }
}
