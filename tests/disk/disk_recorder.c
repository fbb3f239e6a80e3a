/* What a scenario's processes do to the ledger's files, in one total order; and faults at the n-th operation.
 *
 * LD_PRELOAD=disk_recorder.so
 *   DISK_FOLDER  the folder that is watched (absolute, without links)
 *   DISK_LOG     where the record goes; nothing is recorded without it
 *   DISK_TURN    a file of 16 zero bytes, shared by all processes: whose turn it is, and the next number
 *   DISK_FLUSH   microseconds that a flush takes (it does not reach the machine's own disk)
 *   DISK_DEAF    "database": flushes of the database file are not carried out; "file": those of files that are no
 *                database; "folder": those of folders; "all": no flush is
 *   DISK_ALL     record every file and folder below, not only those of a database
 *
 * A record: struct head, then `length` bytes. An operation and its record are one step under the turn, so the
 * order of the records is the order in which things happened. A flush has two: it covers what was written
 * before it began, and can be relied on from when it returned. ledger.db-shm and -lock are not recorded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct head {
    uint8_t kind; /* W write, T truncate, C create, U unlink, R rename, D make folder, B flush begins, E ends, X fails, M mark */
    uint8_t folder;
    uint16_t unused;
    uint32_t process;
    uint64_t inode;
    int64_t offset; /* of a write; the new size; the number of the flush's B */
    uint64_t length;
} __attribute__((packed));

enum { NOT_OURS, DATABASE, LOG, JOURNAL, INDEX, FOLDER, OTHER };
static const char *const names[] = {"", "database", "log", "journal", "index", "folder", "file"};

#define DESCRIPTORS 4096
static unsigned char kinds[DESCRIPTORS];
static char folder[4096];
static size_t folder_length;
static int record = -1;
static int deaf_database, deaf_all, deaf_file, deaf_folder, all_files;
static struct timespec flush_time;
static struct shared {
    int turn;
    int unused;
    int64_t number;
} *shared;

static long counted, fail_at, fail_times;
static int fail_with, flushes_only;
static char failed[64];

#define REAL(name)                                        \
    static __typeof__(&name) real;                        \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void refuse(const char *what) {
    dprintf(2, "disk_recorder: %s is not modelled\n", what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("DISK_FOLDER");
    if (!text) return;
    snprintf(folder, sizeof folder, "%s", text);
    folder_length = strlen(folder);
    all_files = getenv("DISK_ALL") != NULL;
    if ((text = getenv("DISK_FLUSH"))) flush_time.tv_nsec = atol(text) * 1000;
    if ((text = getenv("DISK_DEAF"))) {
        deaf_all = !strcmp(text, "all");
        deaf_database = deaf_all || !strcmp(text, "database");
        deaf_file = !strcmp(text, "file");
        deaf_folder = !strcmp(text, "folder");
    }
    if (!getenv("DISK_LOG")) return;
    REAL(open);
    int turn = real(getenv("DISK_TURN"), O_RDWR | O_CLOEXEC);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, turn, 0);
    int log = real(getenv("DISK_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way: programs expect the lowest numbers. */
    record = fcntl(log, F_DUPFD_CLOEXEC, 900);
    if (turn < 0 || shared == MAP_FAILED || record < 0) refuse("a record that cannot be opened");
}

static void take_turn(void) {
    if (!shared) return;
    while (__atomic_exchange_n(&shared->turn, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

static void give_turn(void) {
    int error = errno;
    if (shared) __atomic_store_n(&shared->turn, 0, __ATOMIC_RELEASE);
    errno = error;
}

/* The caller has the turn. Returns the record's number. */
static int64_t note(char kind, int is_folder, uint64_t inode, int64_t offset, const void *data, size_t length) {
    if (record < 0) return 0;
    int error = errno;
    struct head head = {(uint8_t)kind, (uint8_t)is_folder, 0, (uint32_t)getpid(), inode, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    REAL(writev);
    if (real(record, parts, 2) != (ssize_t)(sizeof head + length)) refuse("a record that cannot be written");
    errno = error;
    return shared->number++;
}

static uint64_t inode_of(int fd) {
    struct stat state;
    return fstat(fd, &state) ? 0 : state.st_ino;
}

static int kind_of(int fd) { return fd >= 0 && fd < DESCRIPTORS ? kinds[fd] : NOT_OURS; }

static int is_recorded(int kind) { return kind == DATABASE || kind == LOG || kind == JOURNAL || kind == OTHER; }

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), wanted = strlen(end);
    return length >= wanted && !strcmp(path + length - wanted, end);
}

static int kind_of_path(const char *path) {
    if (!folder_length || strncmp(path, folder, folder_length)) return NOT_OURS;
    if (path[folder_length] == '\0') return FOLDER;
    if (path[folder_length] != '/') return NOT_OURS;
    if (ends_with(path, ".db")) return DATABASE;
    if (ends_with(path, "-wal")) return LOG;
    if (ends_with(path, "-journal")) return JOURNAL;
    if (ends_with(path, "-shm")) return INDEX;
    struct stat state;
    if (!stat(path, &state) && S_ISDIR(state.st_mode)) return FOLDER;
    return all_files ? OTHER : NOT_OURS;
}

/* The path of a file below the folder. */
static const char *below(const char *path) { return path + folder_length + (path[folder_length] == '/'); }

/* Whether this operation is the one to fail. */
static int fails(const char *what, int kind) {
    if (kind == NOT_OURS || (flushes_only && strcmp(what, "flush"))) return 0;
    if (++counted < fail_at || !fail_at || counted >= fail_at + fail_times) return 0;
    /* A disk that stays full refuses writes; truncations and flushes still succeed. */
    if (fail_with == ENOSPC && counted > fail_at && strcmp(what, "write")) return 0;
    if (counted == fail_at) snprintf(failed, sizeof failed, "%s %s", what, names[kind]);
    errno = fail_with;
    return 1;
}

/* For the program: the fault to come, counted from now (0: none), of all operations or of flushes; what it hit. */
void disk_fail(long at, int error, long times, int only) {
    counted = 0, fail_at = at, fail_with = error, fail_times = times, flushes_only = only;
    failed[0] = '\0';
}
long disk_counted(void) { return counted; }
const char *disk_failed(void) { return failed; }

/* For the program: something that happened, in order with everything else. */
void disk_mark(const char *text, size_t length) {
    take_turn();
    note('M', 0, 0, 0, text, length);
    give_turn();
}

/* ---- files come and go ---- */

static int opened(int fd, const char *path, int kind, int existed, int flags) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    kinds[fd] = (unsigned char)kind;
    if (!is_recorded(kind)) return fd;
    if (!existed) note('C', 0, inode_of(fd), 0, below(path), strlen(below(path)));
    else if (flags & O_TRUNC) note('T', 0, inode_of(fd), 0, "", 0);
    return fd;
}

#define OPEN(name, call, ...)                                          \
    int name(__VA_ARGS__, ...) {                                       \
        mode_t mode = 0;                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                         \
            va_list more;                                              \
            va_start(more, flags);                                     \
            mode = va_arg(more, mode_t);                               \
            va_end(more);                                              \
        }                                                              \
        REAL(name);                                                    \
        int kind = kind_of_path(path);                                 \
        if (kind == NOT_OURS) return real call;                        \
        struct stat state;                                             \
        take_turn();                                                   \
        int existed = !stat(path, &state);                             \
        int fd = opened(real call, path, kind, existed, flags);        \
        give_turn();                                                   \
        return fd;                                                     \
    }
OPEN(open, (path, flags, mode), const char *path, int flags)
OPEN(open64, (path, flags, mode), const char *path, int flags)
OPEN(openat, (at, path, flags, mode), int at, const char *path, int flags)
OPEN(openat64, (at, path, flags, mode), int at, const char *path, int flags)

int close(int fd) {
    REAL(close);
    if (fd == record && fd >= 0) return 0;
    if (fd >= 0 && fd < DESCRIPTORS) kinds[fd] = NOT_OURS;
    return real(fd);
}

/* A second descriptor of the same file; with Python, os.dup is one of these. */
#define FCNTL(name)                                                             \
    int name(int fd, int command, ...) {                                        \
        REAL(name);                                                             \
        va_list more;                                                           \
        va_start(more, command);                                                \
        void *argument = va_arg(more, void *);                                  \
        va_end(more);                                                           \
        int result = real(fd, command, argument);                               \
        int copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;          \
        if (copies && result >= 0 && result < DESCRIPTORS) kinds[result] = (unsigned char)kind_of(fd); \
        return result;                                                          \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int dup(int fd) {
    REAL(dup);
    int result = real(fd);
    if (result >= 0 && result < DESCRIPTORS) kinds[result] = (unsigned char)kind_of(fd);
    return result;
}

static int gone(int result, const char *path) {
    if (!result) note('U', 0, 0, 0, below(path), strlen(below(path)));
    return result;
}

int unlink(const char *path) {
    REAL(unlink);
    if (!is_recorded(kind_of_path(path))) return real(path);
    take_turn();
    int result = gone(real(path), path);
    give_turn();
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    if (!is_recorded(kind_of_path(path))) return real(at, path, flags);
    take_turn();
    int result = gone(real(at, path, flags), path);
    give_turn();
    return result;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    int kind = kind_of_path(from);
    if (!is_recorded(kind) && !is_recorded(kind_of_path(to))) return real(from, to);
    if (fails("rename", kind)) return -1;
    take_turn();
    int result = real(from, to);
    char both[1024];
    int length = snprintf(both, sizeof both, "%s%c%s", below(from), 0, below(to));
    if (!result) note('R', 0, 0, 0, both, (size_t)length);
    give_turn();
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!all_files || !folder_length || strncmp(path, folder, folder_length) || path[folder_length] != '/')
        return real(path, mode);
    take_turn();
    int result = real(path, mode);
    if (!result) note('D', 1, 0, 0, below(path), strlen(below(path)));
    give_turn();
    return result;
}

/* ---- content ---- */

static ssize_t written(int fd, int kind, const void *data, ssize_t length, int64_t offset) {
    if (length > 0 && is_recorded(kind)) note('W', 0, inode_of(fd), offset, data, (size_t)length);
    return length;
}

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    int kind = kind_of(fd);
    if (kind == NOT_OURS) return real(fd, data, length);
    if (fails("write", kind)) return -1;
    take_turn();
    int64_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t result = written(fd, kind, data, real(fd, data, length), offset);
    give_turn();
    return result;
}

#define PWRITE(name)                                                            \
    ssize_t name(int fd, const void *data, size_t length, __off64_t offset) {   \
        REAL(name);                                                             \
        int kind = kind_of(fd);                                                 \
        if (kind == NOT_OURS) return real(fd, data, length, offset);            \
        if (fails("write", kind)) return -1;                                    \
        take_turn();                                                            \
        ssize_t result = written(fd, kind, data, real(fd, data, length, offset), offset); \
        give_turn();                                                            \
        return result;                                                          \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                                          \
    int name(int fd, __off64_t size) {                                          \
        REAL(name);                                                             \
        int kind = kind_of(fd);                                                 \
        if (kind == NOT_OURS) return real(fd, size);                            \
        if (fails("truncate", kind)) return -1;                                 \
        take_turn();                                                            \
        int result = real(fd, size);                                            \
        if (!result && is_recorded(kind)) note('T', 0, inode_of(fd), size, "", 0); \
        give_turn();                                                            \
        return result;                                                          \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

/* Other ways to change a file: a model that missed one would prove nothing. */
#define REFUSED(name, ...)                                                      \
    __VA_ARGS__ {                                                               \
        REAL(name);                                                             \
        if (is_recorded(kind_of(fd))) refuse(#name);

REFUSED(writev, ssize_t writev(int fd, const struct iovec *parts, int count))
    return real(fd, parts, count);
}
REFUSED(pwritev, ssize_t pwritev(int fd, const struct iovec *parts, int count, __off64_t offset))
    return real(fd, parts, count, offset);
}
REFUSED(pwritev64, ssize_t pwritev64(int fd, const struct iovec *parts, int count, __off64_t offset))
    return real(fd, parts, count, offset);
}
REFUSED(posix_fallocate, int posix_fallocate(int fd, __off64_t offset, __off64_t length))
    return real(fd, offset, length);
}
REFUSED(posix_fallocate64, int posix_fallocate64(int fd, __off64_t offset, __off64_t length))
    return real(fd, offset, length);
}
REFUSED(fallocate, int fallocate(int fd, int mode, __off64_t offset, __off64_t length))
    return real(fd, mode, offset, length);
}
REFUSED(fallocate64, int fallocate64(int fd, int mode, __off64_t offset, __off64_t length))
    return real(fd, mode, offset, length);
}

ssize_t copy_file_range(int from, off64_t *at, int fd, off64_t *to, size_t length, unsigned flags) {
    REAL(copy_file_range);
    if (is_recorded(kind_of(fd))) refuse("copy_file_range");
    return real(from, at, fd, to, length, flags);
}

ssize_t sendfile(int fd, int from, off_t *at, size_t length) {
    REAL(sendfile);
    if (is_recorded(kind_of(fd))) refuse("sendfile");
    return real(fd, from, at, length);
}

ssize_t sendfile64(int fd, int from, off64_t *at, size_t length) {
    REAL(sendfile64);
    if (is_recorded(kind_of(fd))) refuse("sendfile64");
    return real(fd, from, at, length);
}

int link(const char *from, const char *to) {
    REAL(link);
    if (is_recorded(kind_of_path(to))) refuse("link");
    return real(from, to);
}

int ioctl(int fd, unsigned long request, ...) {
    REAL(ioctl);
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (request == 0x40049409 /* FICLONE */ && is_recorded(kind_of(fd))) refuse("a clone");
    return real(fd, request, argument);
}

static int writes_shared(int protection, int flags) {
    return (protection & PROT_WRITE) && (flags & 3 /* MAP_SHARED, MAP_SHARED_VALIDATE */) != MAP_PRIVATE;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, __off64_t offset) {
    REAL(mmap);
    if (is_recorded(kind_of(fd)) && writes_shared(protection, flags)) refuse("a writable mapping");
    return real(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, __off64_t offset) {
    REAL(mmap64);
    if (is_recorded(kind_of(fd)) && writes_shared(protection, flags)) refuse("a writable mapping");
    return real(address, length, protection, flags, fd, offset);
}

/* ---- flushes ---- */

enum { ALL = 2 }; /* in place of a folder: everything, as syncfs flushes it */

static int flush(int fd, int kind) {
    int is_folder = kind == FOLDER;
    if (deaf_all || (deaf_database && kind == DATABASE) || (deaf_file && kind == OTHER) || (deaf_folder && is_folder))
        return 0;
    uint64_t inode = inode_of(fd);
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (is_folder && readlink(link, path, sizeof path - 1) < 0) refuse("a folder without a name");
    const char *name = is_folder ? below(path) : "";
    take_turn();
    int64_t begun = note('B', is_folder, inode, 0, name, strlen(name));
    give_turn();
    int fault = fails("flush", kind), error = errno;
    /* Outside the turn: others write meanwhile, and what they write is not covered. */
    struct timespec left = flush_time;
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
    take_turn();
    note(fault ? 'X' : 'E', is_folder, inode, begun, name, strlen(name));
    give_turn();
    errno = error;
    return fault ? -1 : 0;
}

int syncfs(int fd) {
    REAL(syncfs);
    if (!all_files || kind_of(fd) != FOLDER) return real(fd);
    if (deaf_all || deaf_file) return 0;
    take_turn();
    int64_t begun = note('B', ALL, 0, 0, "", 0);
    give_turn();
    int fault = fails("flush", OTHER), error = errno;
    struct timespec left = flush_time;
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
    take_turn();
    note(fault ? 'X' : 'E', ALL, 0, begun, "", 0);
    give_turn();
    errno = error;
    return fault ? -1 : 0;
}

int fsync(int fd) {
    REAL(fsync);
    int kind = kind_of(fd);
    return kind == NOT_OURS || kind == INDEX ? real(fd) : flush(fd, kind);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    int kind = kind_of(fd);
    return kind == NOT_OURS || kind == INDEX ? real(fd) : flush(fd, kind);
}
