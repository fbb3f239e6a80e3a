/* A disk whose flush takes a fixed time, for benchmarks: fsync and fdatasync sleep FSYNC_MICROSECONDS
 * (default 1000) and return 0 without the real flush, so that the machine's own disk does not matter.
 * Flushes of several processes overlap, as they do on a disk that gathers them.
 *
 * cc -O2 -shared -fPIC -o fsync_shim.so fsync_shim.c; LD_PRELOAD=./fsync_shim.so FSYNC_MICROSECONDS=1000 program
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static struct timespec wait_for = {0, 1000000};

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("FSYNC_MICROSECONDS");
    if (text && *text) {
        long long microseconds = atoll(text);
        wait_for.tv_sec = microseconds / 1000000;
        wait_for.tv_nsec = microseconds % 1000000 * 1000;
    }
    /* The kernel may otherwise add 50 microseconds to every sleep. Threads inherit it. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

static int flush(void) {
    struct timespec left = wait_for;
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
    return 0;
}

int fsync(int fd) {
    (void)fd;
    return flush();
}

int fdatasync(int fd) {
    (void)fd;
    return flush();
}
