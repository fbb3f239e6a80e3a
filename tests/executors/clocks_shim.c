/* A machine whose wall clock is set a day forward, and that sleeps for a day, at every look: the clocks that time asleep
 * or a correction moves do so, CLOCK_MONOTONIC goes on as it does.
 *
 * cc -O2 -shared -fPIC -o clocks_shim.so clocks_shim.c; LD_PRELOAD=./clocks_shim.so program
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long looks;

int clock_gettime(clockid_t clock, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, clock, at);
    if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME)) {
        at->tv_sec += ++looks * 86400;
    }
    return (int)failed;
}
