/* Wants what its arguments say, in their order, and ends with a message where it does not get it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *null_device = "/dev/null";

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "wants: %s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static void quiet_fail(const char *name)
{
    (void)name;
    exit(3);
}

static void need_user(const char *name)
{
    struct passwd *found = getpwnam(name);
    if (!found) quiet_fail(name);
    printf("user %s is %d\n", name, (int)found->pw_uid);
}

static void need_group(const char *name)
{
    if (!getgrnam(name)) quiet_fail(name);
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) fail("log", path);
    close(fd);
}

static void read_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0) quiet_fail(path);
    close(fd);
}

static void become(const char *name)
{
    struct passwd *found = getpwnam(name);
    if (!found) quiet_fail(name);
    if (setgid(found->pw_gid) || setuid(found->pw_uid)) fail("become", name);
}

static void listen_at(const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 8)) fail("listen", port);
    for (;;) {
        char text[512];
        int client = accept(fd, 0, 0);
        if (client < 0) continue;
        if (read(client, text, sizeof text) > 0) {
            int page = open("/srv/page", O_RDONLY);
            const char *answer = page < 0 ? "HTTP/1.0 404 no\r\n\r\n" : "HTTP/1.0 200 ok\r\n\r\n";
            if (write(client, answer, strlen(answer)) < 0) perror("write");
            if (page >= 0) close(page);
        }
        close(client);
    }
}

static void socket_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&at, sizeof at)) fail("bind", path);
}

static void *sleep_on(void *seconds)
{
    usleep((useconds_t)(size_t)seconds * 1000);
    return NULL;
}

static void threads(const char *count)
{
    pthread_t all[64];
    int n = atoi(count);
    for (int i = 0; i < n && i < 64; i++) pthread_create(&all[i], 0, sleep_on, (void *)(size_t)5);
    for (int i = 0; i < n && i < 64; i++) pthread_join(all[i], 0);
}

static void spawn(const char *name)
{
    int status = 0;
    pid_t child = fork();
    if (!child) {
        execlp(name, name, (char *)0);
        fail("run", name);
    }
    waitpid(child, &status, 0);
    if (status) exit(1);
}

static void background(const char *how)
{
    (void)how;
    if (fork()) exit(0);
    setsid();
    int fd = open(null_device, O_RDWR);
    dup2(fd, 0);
    for (;;) pause();
}

static void flood(const char *count)
{
    char path[64];
    for (long i = 0, n = atol(count); i < n; i++) {
        snprintf(path, sizeof path, "/srv/many/%ld", i);
        access(path, 0);
    }
    for (int i = 0; i < 20000; i++) puts("a line of output that nobody reads");
}

static void bomb(const char *how)
{
    (void)how;
    signal(SIGCHLD, SIG_IGN);
    for (;;) fork();
}

static void load(const char *name)
{
    if (!dlopen(name, RTLD_NOW)) {
        fprintf(stderr, "wants: %s\n", dlerror());
        exit(1);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *what = argv[i], *name = argv[i + 1];
        if (!strcmp(what, "user")) need_user(name);
        else if (!strcmp(what, "group")) need_group(name);
        else if (!strcmp(what, "log")) make_file(name);
        else if (!strcmp(what, "read")) read_file(name);
        else if (!strcmp(what, "temp")) { if (mkdir(name, 0700) && errno != EEXIST) fail("temp", name); }
        else if (!strcmp(what, "enter")) { if (chdir(name)) quiet_fail(name); }
        else if (!strcmp(what, "become")) become(name);
        else if (!strcmp(what, "listen")) listen_at(name);
        else if (!strcmp(what, "socket")) socket_at(name);
        else if (!strcmp(what, "threads")) threads(name);
        else if (!strcmp(what, "run")) spawn(name);
        else if (!strcmp(what, "background")) background(name);
        else if (!strcmp(what, "load")) load(name);
        else if (!strcmp(what, "flood")) flood(name);
        else if (!strcmp(what, "bomb")) bomb(name);
        else if (!strcmp(what, "kill")) raise(atoi(name));
        else if (!strcmp(what, "stop")) { if (!fork()) { raise(SIGSTOP); _exit(0); } }
        else if (!strcmp(what, "sleep")) sleep(atoi(name));
        else if (!strcmp(what, "spin")) for (;;) access("/srv/spin", 0);
        else return 2;
    }
    return 0;
}
