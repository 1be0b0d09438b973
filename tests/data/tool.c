/* What test images run: one static program whose first argument says what to do. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int listener(const char *address, int port) {
    int one = 1, sock = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &where.sin_addr);
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(sock, (struct sockaddr *)&where, sizeof where) || listen(sock, 16)) {
        perror("listen");
        exit(3);
    }
    return sock;
}

/* serve ADDRESS PORT STATUS BODY [SECONDS of 503 first] */
static int serve(char **argv) {
    int sock = listener(argv[2], atoi(argv[3]));
    time_t good = time(NULL) + (argv[6] ? atoi(argv[6]) : 0);
    printf("serving %s\n", argv[3]);
    fflush(stdout);
    for (;;) {
        char request[4096], answer[8192];
        int peer = accept(sock, NULL, NULL);
        if (peer < 0)
            continue;
        if (read(peer, request, sizeof request) > 0) {
            int early = time(NULL) < good;
            int size = snprintf(answer, sizeof answer,
                "HTTP/1.1 %s X\r\nContent-Length: %zu\r\n\r\n%s",
                early ? "503" : argv[4], strlen(argv[5]), argv[5]);
            if (write(peer, answer, size) < 0)
                perror("write");
        }
        close(peer);
    }
    return 0;
}

/* keep PORT: count starts in /data, tell both streams, answer with $GREETING and the count;
 * end on SIGQUIT with 0, on SIGTERM never */
static void leave(int number) {
    (void)number;
    _exit(0);
}

static int keep(char **argv) {
    signal(SIGQUIT, leave);
    signal(SIGTERM, SIG_IGN);
    mkdir("/data", 0755);
    int file = open("/data/starts", O_CREAT | O_RDWR | O_APPEND, 0644);
    struct stat seen;
    char body[512];
    if (write(file, "x", 1) != 1 || fstat(file, &seen))
        return 6;
    close(file);
    snprintf(body, sizeof body, "%s %d", getenv("GREETING"), (int)seen.st_size);
    fprintf(stderr, "start %d\n", (int)seen.st_size);
    return serve((char *[]){argv[0], "serve", "0.0.0.0", argv[2], "200", body, NULL});
}

/* fastcgi PORT STATUS BODY: answer each connection as a FastCGI application */
static int fastcgi(char **argv) {
    int sock = listener("0.0.0.0", atoi(argv[2]));
    for (;;) {
        unsigned char request[8192], answer[1024] = {1, 6, 0, 1};
        int peer = accept(sock, NULL, NULL), size = 8, got;
        if (peer < 0 || (got = read(peer, request, sizeof request)) <= 0)
            continue;
        int asked = memmem(request, got, "SCRIPT_FILENAME/srv/", 20) != NULL;
        size += snprintf((char *)answer + 8, 512, "Status: %s X\r\n\r\n%s %s", argv[3], argv[4],
                         asked ? "asked" : "");
        answer[4] = (size - 8) >> 8;
        answer[5] = size - 8;
        memcpy(answer + size, "\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0", 16);
        if (write(peer, answer, size + 16) < 0)
            perror("write");
        close(peer);
    }
    return 0;
}

/* as UID COMMAND...: what nginx, redis and mysqld do: give files away, then change user */
static int as_user(char **argv) {
    int uid = atoi(argv[2]);
    mkdir("/given", 0700);
    if (chown("/given", uid, uid) || setgroups(0, NULL) || setresgid(uid, uid, uid) ||
        setresuid(uid, uid, uid)) {
        perror("as");
        return 4;
    }
    close(open("/given/file", O_CREAT | O_WRONLY, 0600));
    execv("/bin/tool", argv + 2);
    return 5;
}

static int id(void) {
    char line[512];
    FILE *status = fopen("/proc/self/status", "r");
    printf("uid=%d gid=%d\n", getuid(), getgid());
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "Groups", 6) || !strncmp(line, "NoNew", 5))
            fputs(line, stdout);
    return 0;
}

static int cat(const char *path) {
    char line[4096];
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("%s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t size;
    while ((size = fread(line, 1, sizeof line, file)) > 0)
        fwrite(line, 1, size, stdout);
    return 0;
}

static int flood(long bytes) {
    char block[65536];
    memset(block, 'x', sizeof block);
    for (int i = 99; i < (int)sizeof block; i += 100)
        block[i] = '\n';
    for (; bytes > 0; bytes -= sizeof block)
        if (write(1, block, sizeof block) < 0)
            return 1;
    puts("the last line");
    return 0;
}

/* fill FOLDER: write a file until there is no room, say so, and go on */
static int fill(const char *folder) {
    char block[4096] = {1};
    mkdir(folder, 0755);
    if (chdir(folder))
        return 1;
    int file = open("fill", O_CREAT | O_WRONLY, 0644);
    while (write(file, block, sizeof block) > 0)
        ;
    puts(strerror(errno));
    fflush(stdout);
    return sleep(1000), 0;
}

/* Start processes until the kernel refuses. */
static int forks(void) {
    int count = 0;
    pid_t child;
    while (count < 20000 && (child = fork()) >= 0) {
        if (child == 0)
            for (;;)
                sleep(1000);
        count++;
    }
    printf("%d processes\n", count);
    return count < 20000 ? 0 : 1;
}

/* Take and touch memory until the kernel refuses or kills. */
static int eat(void) {
    for (;;) {
        char *block = malloc(64 << 20);
        if (!block)
            return 6;
        memset(block, 1, 64 << 20);
    }
}

/* A process that nobody waits for, in a session of its own. */
static void escape(void) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            for (;;)
                sleep(1000);
        _exit(0);
    }
    wait(NULL);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "serve"))
        return serve(argv);
    if (!strcmp(what, "keep"))
        return keep(argv);
    if (!strcmp(what, "fastcgi"))
        return fastcgi(argv);
    if (!strcmp(what, "as"))
        return as_user(argv);
    if (!strcmp(what, "id"))
        return id();
    if (!strcmp(what, "cat"))
        return cat(argv[2]);
    if (!strcmp(what, "flood"))
        return flood(atol(argv[2]));
    if (!strcmp(what, "fill"))
        return fill(argv[2]);
    if (!strcmp(what, "forks"))
        return forks();
    if (!strcmp(what, "eat"))
        return eat();
    if (!strcmp(what, "escape")) {
        escape();
        return serve(argv);
    }
    if (!strcmp(what, "sleep"))
        return sleep(atoi(argv[2])), 0;
    if (!strcmp(what, "exit"))
        return printf("%s\n", argc > 3 ? argv[3] : ""), atoi(argv[2]);
    if (!strcmp(what, "crash"))
        abort();
    if (!strcmp(what, "look")) { /* look PATH...: open, in vain or not, then serve */
        for (int i = 2; i < argc; i++)
            close(open(argv[i], O_RDONLY));
        return 0;
    }
    if (!strcmp(what, "where")) {
        char name[256], folder[4096];
        gethostname(name, sizeof name);
        printf("host=%s cwd=%s home=%s path=%s\n", name, getcwd(folder, sizeof folder),
               getenv("HOME"), getenv("PATH"));
        return 0;
    }
    puts("unknown command");
    return 2;
}
