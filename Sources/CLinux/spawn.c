/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nf_spawn: fork, set the child up by raw system calls alone, exec. glibc's wrappers for fork and the set*id family are
 * left aside on purpose: the first runs handlers and takes locks, the second signals every thread it believes to exist,
 * and in the child of a process with threads there are none.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nf_process.h"
#include "nf_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#endif

enum { MAX_DESCRIPTORS = 256, KERNEL_SIGSET_SIZE = 8, NSIGNALS = 64 };

/* What the child writes to the status pipe: where it failed, or (stage 0) the pid of the process to be followed. */
struct report {
  int32_t stage;
  int32_t error;
  int32_t detail;
  int32_t pid;
};

void nf_spawn_request_init(struct nf_spawn_request *request) {
  memset(request, 0, sizeof *request);
  request->program_descriptor = -1;
  request->terminal = -1;
}

const char *nf_spawn_stage_name(int stage) {
  switch (stage) {
    case NF_SPAWN_OK: return "nothing";
    case NF_SPAWN_REQUEST: return "the request";
    case NF_SPAWN_FORK: return "fork";
    case NF_SPAWN_SESSION: return "new session";
    case NF_SPAWN_JOIN: return "joining a namespace";
    case NF_SPAWN_UNSHARE: return "making namespaces";
    case NF_SPAWN_ID_MAP: return "mapping user ids";
    case NF_SPAWN_FORK_IN_PIDNS: return "fork in the pid namespace";
    case NF_SPAWN_MOUNT: return "mount";
    case NF_SPAWN_READ_ONLY_ROOT: return "making the mount tree read-only";
    case NF_SPAWN_LIMIT: return "setting a limit";
    case NF_SPAWN_IDENTITY: return "taking the user's identity";
    case NF_SPAWN_DIRECTORY: return "changing directory";
    case NF_SPAWN_DESCRIPTORS: return "handing over descriptors";
    case NF_SPAWN_NO_NEW_PRIVS: return "no_new_privs";
    case NF_SPAWN_LANDLOCK: return "Landlock";
    case NF_SPAWN_TERMINAL: return "the controlling terminal";
    case NF_SPAWN_SECCOMP: return "seccomp";
    case NF_SPAWN_EXEC: return "exec";
    default: return "an unknown step";
  }
}

/* MARK: the child */

static _Noreturn void fail(int status, int stage, int error, int detail) {
  struct report report = {stage, error, detail, 0};
  while (write(status, &report, sizeof report) < 0 && errno == EINTR) {
  }
  _exit(127);
}

static void reset_signals(void) {
  /* The kernel's own struct: handler, flags, (restorer), mask; all zero is SIG_DFL. */
  unsigned long action[8];
  memset(action, 0, sizeof action);
  for (int signal = 1; signal <= NSIGNALS; signal++)
    if (signal != SIGKILL && signal != SIGSTOP)
      syscall(SYS_rt_sigaction, signal, action, NULL, (size_t)KERNEL_SIGSET_SIZE);
}

static int write_file(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  size_t length = strlen(text);
  ssize_t written = write(file, text, length);
  int error = errno;
  close(file);
  if (written == (ssize_t)length) return 0;
  errno = written < 0 ? error : EIO;
  return -1;
}

/* The mount_setattr(2) argument, which not every libc declares. */
struct mount_attributes {
  uint64_t set;
  uint64_t clear;
  uint64_t propagation;
  uint64_t userns;
};

static void make_mounts(const struct nf_spawn_request *request, int status) {
  if (request->mount_count == 0 && !(request->flags & NF_SPAWN_READ_ONLY)) return;
  /* Without this a mount of ours would show in the host's tree. */
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) fail(status, NF_SPAWN_MOUNT, errno, -1);
  for (size_t i = 0; i < request->mount_count; i++) {
    const struct nf_spawn_mount *one = &request->mounts[i];
    if (one->type != NULL) {
      if (mount(one->source, one->target, one->type, one->flags, one->data) < 0)
        fail(status, NF_SPAWN_MOUNT, errno, (int)i);
      continue;
    }
    unsigned long flags = (one->flags & ~(unsigned long)MS_RDONLY) | MS_BIND;
    if (mount(one->source, one->target, NULL, flags, NULL) < 0) fail(status, NF_SPAWN_MOUNT, errno, (int)i);
    if (one->flags & MS_RDONLY) {
      struct mount_attributes attributes = {.set = MOUNT_ATTR_RDONLY};
      if (syscall(SYS_mount_setattr, AT_FDCWD, one->target, 0, &attributes, sizeof attributes) < 0)
        fail(status, NF_SPAWN_MOUNT, errno, (int)i);
    }
  }
  if (request->flags & NF_SPAWN_READ_ONLY) {
    struct mount_attributes attributes = {.set = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes) < 0)
      fail(status, NF_SPAWN_READ_ONLY_ROOT, errno, -1);
  }
}

/* MARK: Landlock */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

/* linux/landlock.h as of ABI 6; older kernels take a shorter prefix of it. */
struct landlock_ruleset {
  uint64_t fs;
  uint64_t net;
  uint64_t scoped;
};

int nf_landlock_abi(void) {
  long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : (int)abi;
}

/* The rules as a descriptor, -1 when there are none to keep or the kernel has no Landlock. */
static int make_ruleset(const struct nf_spawn_request *request, int status) {
  if (!(request->flags & NF_SPAWN_LANDLOCK_PATHS)) return -1;
  int abi = nf_landlock_abi();
  if (abi == 0) return -1;
  uint64_t execute = LANDLOCK_ACCESS_FS_EXECUTE;
  uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  uint64_t files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
  uint64_t all = (1ULL << 13) - 1;
  if (abi >= 2) all |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) all |= LANDLOCK_ACCESS_FS_TRUNCATE;
  if (abi >= 3) files |= LANDLOCK_ACCESS_FS_TRUNCATE;
  if (abi >= 5) all |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
  if (abi >= 5) files |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
  struct landlock_ruleset attributes = {.fs = all};
  size_t size = sizeof attributes.fs;
  if (abi >= 4) {
    attributes.net = 3; /* TCP bind and connect */
    size = offsetof(struct landlock_ruleset, scoped);
  }
  if (abi >= 6) {
    attributes.scoped = 3; /* abstract sockets and signals */
    size = sizeof attributes;
  }
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
  if (ruleset < 0) fail(status, NF_SPAWN_LANDLOCK, errno, -1);

  for (size_t i = 0; i < request->path_count; i++) {
    const struct nf_spawn_path *path = &request->paths[i];
    int file = path->path ? open(path->path, O_PATH | O_CLOEXEC) : fcntl(path->descriptor, F_DUPFD_CLOEXEC, 0);
    if (file < 0) {
      if (path->path && (errno == ENOENT || errno == ENOTDIR || errno == EACCES)) continue;
      fail(status, NF_SPAWN_LANDLOCK, errno, (int)i);
    }
    struct stat info;
    if (fstat(file, &info) < 0) fail(status, NF_SPAWN_LANDLOCK, errno, (int)i);
    struct landlock_path_beneath_attr rule = {.parent_fd = file};
    if (path->access & NF_SPAWN_PATH_READ) rule.allowed_access |= read;
    if (path->access & NF_SPAWN_PATH_EXECUTE) rule.allowed_access |= execute;
    if (path->access & NF_SPAWN_PATH_WRITE) rule.allowed_access |= all & ~(execute | read);
    if (!S_ISDIR(info.st_mode)) rule.allowed_access &= files;
    if (rule.allowed_access != 0 &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
      fail(status, NF_SPAWN_LANDLOCK, errno, (int)i);
    close(file);
  }
  return ruleset;
}

/* MARK: descriptors */

static void close_everything_at_exec(void) {
  if (syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  /* Refused by a container's filter that knows no close_range: one by one, as far as descriptors may go. */
  struct rlimit limit;
  int last = 65536;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t)last) last = (int)limit.rlim_cur;
  for (int descriptor = 0; descriptor < last; descriptor++) {
    int flags = fcntl(descriptor, F_GETFD);
    if (flags >= 0) fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC);
  }
}

/*
 * Gives the program exactly its descriptors. All sources are first copied above every target, so that no order of
 * mappings can overwrite one that is still needed; `status`, `program` and `ruleset` move out of the way too.
 */
static void map_descriptors(const struct nf_spawn_request *request, int *status, int *program, int *ruleset) {
  int above = 3;
  for (size_t i = 0; i < request->descriptor_count; i++)
    if (request->descriptors[i].to >= above) above = request->descriptors[i].to + 1;

  int moved = fcntl(*status, F_DUPFD_CLOEXEC, above);
  if (moved < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
  *status = moved;
  close_everything_at_exec();
  if (*program >= 0) {
    *program = fcntl(*program, F_DUPFD_CLOEXEC, above);
    if (*program < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
  }
  if (*ruleset >= 0) {
    *ruleset = fcntl(*ruleset, F_DUPFD_CLOEXEC, above);
    if (*ruleset < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
  }
  int copies[MAX_DESCRIPTORS];
  bool standard[3] = {false, false, false};
  for (size_t i = 0; i < request->descriptor_count; i++) {
    copies[i] = fcntl(request->descriptors[i].from, F_DUPFD_CLOEXEC, above);
    if (copies[i] < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, (int)i);
    if (request->descriptors[i].to < 3) standard[request->descriptors[i].to] = true;
  }
  int nothing = -1;
  for (int descriptor = 0; descriptor < 3; descriptor++) {
    if (standard[descriptor]) continue;
    if (nothing < 0) {
      int opened = open("/dev/null", O_RDWR | O_CLOEXEC);
      if (opened < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
      nothing = fcntl(opened, F_DUPFD_CLOEXEC, above);
      if (nothing < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
    }
    if (dup2(nothing, descriptor) < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, -1);
  }
  for (size_t i = 0; i < request->descriptor_count; i++)
    if (dup2(copies[i], request->descriptors[i].to) < 0) fail(*status, NF_SPAWN_DESCRIPTORS, errno, (int)i);
}

/* MARK: exec */

static int execute(const struct nf_spawn_request *request, int program) {
  if (program >= 0) {
    syscall(SYS_execveat, program, "", request->argv, request->envp, AT_EMPTY_PATH);
    return errno;
  }
  if (strchr(request->path, '/') != NULL || request->search == NULL) {
    execve(request->path, request->argv, request->envp);
    return errno;
  }
  /* As execvp: a file that may not be run is remembered, and the search goes on. */
  int remembered = ENOENT;
  size_t name = strlen(request->path);
  char path[4096];
  for (const char *folder = request->search; folder != NULL;) {
    const char *end = strchr(folder, ':');
    size_t length = end ? (size_t)(end - folder) : strlen(folder);
    if (length + 1 + name + 1 <= sizeof path) {
      memcpy(path, folder, length);
      if (length == 0) path[length++] = '.';
      path[length] = '/';
      memcpy(path + length + 1, request->path, name + 1);
      execve(path, request->argv, request->envp);
      if (errno == EACCES)
        remembered = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT)
        return errno;
    }
    folder = end ? end + 1 : NULL;
  }
  return remembered;
}

static void take_identity(const struct nf_spawn_request *request, int status) {
  if (!(request->flags & NF_SPAWN_SET_IDENTITY)) return;
  if (!(request->flags & NF_SPAWN_KEEP_GROUPS) &&
      syscall(SYS_setgroups, request->group_count, request->groups) < 0)
    fail(status, NF_SPAWN_IDENTITY, errno, 0);
  if (syscall(SYS_setresgid, request->gid, request->gid, request->gid) < 0)
    fail(status, NF_SPAWN_IDENTITY, errno, 1);
  if (syscall(SYS_setresuid, request->uid, request->uid, request->uid) < 0)
    fail(status, NF_SPAWN_IDENTITY, errno, 2);
}

static void enter_namespaces(const struct nf_spawn_request *request, int status, bool *new_pid) {
  for (size_t i = 0; i < request->namespace_count; i++) {
    const struct nf_spawn_namespace *one = &request->namespaces[i];
    if (setns(one->descriptor, one->type) < 0) fail(status, NF_SPAWN_JOIN, errno, (int)i);
    if (one->type & CLONE_NEWPID) *new_pid = true;
  }
  int unshared = request->unshare;
  if (request->flags & NF_SPAWN_READ_ONLY) unshared |= CLONE_NEWNS;
  if (unshared != 0 && unshare(unshared) < 0) fail(status, NF_SPAWN_UNSHARE, errno, unshared);
  if (unshared & CLONE_NEWPID) *new_pid = true;
  if (request->gid_map != NULL) {
    /* An unprivileged process may map its group only once it has given up setgroups. */
    if (write_file("/proc/self/setgroups", "deny") < 0 && errno != ENOENT) fail(status, NF_SPAWN_ID_MAP, errno, 0);
    if (write_file("/proc/self/gid_map", request->gid_map) < 0) fail(status, NF_SPAWN_ID_MAP, errno, 1);
  }
  if (request->uid_map != NULL && write_file("/proc/self/uid_map", request->uid_map) < 0)
    fail(status, NF_SPAWN_ID_MAP, errno, 2);
}

static _Noreturn void child(const struct nf_spawn_request *request, int status, pid_t parent) {
  bool new_pid = false;
  int program = request->program_descriptor;
  reset_signals();
  enter_namespaces(request, status, &new_pid);

  if (new_pid) {
    /* A pid namespace holds the children of who entered it. CLONE_PARENT makes the second child the caller's own, so
       that the caller waits for the program itself; this one only says its pid. */
    long second = syscall(SYS_clone, (unsigned long)(SIGCHLD | CLONE_PARENT), 0, 0, 0, 0);
    if (second < 0) fail(status, NF_SPAWN_FORK_IN_PIDNS, errno, 0);
    if (second > 0) {
      struct report report = {NF_SPAWN_OK, 0, 0, (int32_t)second};
      while (write(status, &report, sizeof report) < 0 && errno == EINTR) {
      }
      _exit(0);
    }
  }
  if (request->flags & NF_SPAWN_NEW_SESSION) {
    if (setsid() < 0) fail(status, NF_SPAWN_SESSION, errno, 0);
  } else if (request->flags & NF_SPAWN_NEW_GROUP) {
    if (setpgid(0, 0) < 0) fail(status, NF_SPAWN_SESSION, errno, 0);
  }
  make_mounts(request, status);
  /* Before the descriptors that it names may be overwritten by the program's. */
  int ruleset = make_ruleset(request, status);
  map_descriptors(request, &status, &program, &ruleset);
  if (request->flags & (NF_SPAWN_NO_NEW_PRIVILEGES | NF_SPAWN_LANDLOCK_PATHS | NF_SPAWN_COMPUTE_ONLY)) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail(status, NF_SPAWN_NO_NEW_PRIVS, errno, 0);
  }
  if (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
    fail(status, NF_SPAWN_LANDLOCK, errno, -1);
  if (request->terminal >= 0 && ioctl(request->terminal, TIOCSCTTY, 0) < 0)
    fail(status, NF_SPAWN_TERMINAL, errno, request->terminal);
  /* After the steps that open files, which the limit on descriptors would hit; before the identity is given up. */
  nf_restore_descriptor_limit();
  for (size_t i = 0; i < request->limit_count; i++) {
    struct rlimit limit = {(rlim_t)request->limits[i].soft, (rlim_t)request->limits[i].hard};
    if (setrlimit((int)request->limits[i].resource, &limit) < 0) fail(status, NF_SPAWN_LIMIT, errno, (int)i);
  }
  take_identity(request, status);
  if (request->flags & NF_SPAWN_DIE_WITH_PARENT) {
    /* After the identity: a change of uid clears it. The parent may have ended before this took hold. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail(status, NF_SPAWN_IDENTITY, errno, 3);
    if (!new_pid && getppid() != parent) _exit(127);
  }
  if (request->cwd != NULL && chdir(request->cwd) < 0) fail(status, NF_SPAWN_DIRECTORY, errno, 0);

  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, (size_t)KERNEL_SIGSET_SIZE);
  if (request->flags & NF_SPAWN_COMPUTE_ONLY) {
    int error = nf_seccomp_compute_only();
    if (error != 0) fail(status, NF_SPAWN_SECCOMP, error, 0);
  }
  fail(status, NF_SPAWN_EXEC, execute(request, program), 0);
}

/* MARK: the caller */

static int refuse(struct nf_spawn_result *result, int stage, int error) {
  result->stage = stage;
  result->error = error;
  return -1;
}

/* Reads one report. 1: read; 0: the pipe was closed, so exec took place; -1: errno. */
static int read_report(int pipe, struct report *report) {
  size_t got = 0;
  while (got < sizeof *report) {
    ssize_t count = read(pipe, (char *)report + got, sizeof *report - got);
    if (count == 0) return 0;
    if (count < 0) {
      if (errno == EINTR) continue;
      return -1;
    }
    got += (size_t)count;
  }
  return 1;
}

static void reap(pid_t pid) {
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
}

int nf_spawn(const struct nf_spawn_request *request, struct nf_spawn_result *result) {
  *result = (struct nf_spawn_result){.pid = -1, .pidfd = -1};
  if (request->argv == NULL || request->argv[0] == NULL || request->envp == NULL ||
      (request->path == NULL && request->program_descriptor < 0) || request->descriptor_count > MAX_DESCRIPTORS)
    return refuse(result, NF_SPAWN_REQUEST, EINVAL);
  bool own_mounts = (request->unshare & CLONE_NEWNS) || (request->flags & NF_SPAWN_READ_ONLY);
  for (size_t i = 0; i < request->namespace_count; i++)
    if (request->namespaces[i].type & CLONE_NEWNS) own_mounts = true;
  if (request->mount_count > 0 && !own_mounts) return refuse(result, NF_SPAWN_REQUEST, EINVAL);
  for (size_t i = 0; i < request->descriptor_count; i++) {
    int to = request->descriptors[i].to;
    if (to < 0 || to >= 65536 || request->descriptors[i].from < 0) return refuse(result, NF_SPAWN_REQUEST, EBADF);
    for (size_t j = 0; j < i; j++)
      if (request->descriptors[j].to == to) return refuse(result, NF_SPAWN_REQUEST, EINVAL);
  }

  int status[2];
  if (pipe2(status, O_CLOEXEC) < 0) return refuse(result, NF_SPAWN_FORK, errno);

  /* No handler of the caller may run in the child before it has been reset. */
  uint64_t all = ~(uint64_t)0, before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, (size_t)KERNEL_SIGSET_SIZE);
  pid_t parent = getpid();
  int pidfd = -1;
  long pid = syscall(SYS_clone, (unsigned long)(SIGCHLD | CLONE_PIDFD), 0, &pidfd, 0, 0);
  int error = errno;
  if (pid == 0) child(request, status[1], parent);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, (size_t)KERNEL_SIGSET_SIZE);
  close(status[1]);
  if (pid < 0) {
    close(status[0]);
    return refuse(result, NF_SPAWN_FORK, error);
  }

  /* Until every copy of the pipe is closed, by exec or by exit: the reports of the two processes that a pid namespace
     takes may come in either order. */
  struct report report = {0, 0, 0, 0}, failure = {0, 0, 0, 0};
  int got;
  while ((got = read_report(status[0], &report)) == 1) {
    if (report.stage != NF_SPAWN_OK) {
      failure = report;
      continue;
    }
    reap((pid_t)pid);
    close(pidfd);
    pid = report.pid;
    pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
  }
  if (got < 0) {
    failure = (struct report){NF_SPAWN_FORK, errno, 0, 0};
    kill((pid_t)pid, SIGKILL);
  }
  close(status[0]);
  if (failure.stage == NF_SPAWN_OK) {
    result->pid = (pid_t)pid;
    result->pidfd = pidfd;
    return 0;
  }
  reap((pid_t)pid);
  if (pidfd >= 0) close(pidfd);
  result->detail = failure.detail;
  return refuse(result, failure.stage, failure.error);
}

int nf_pidfd_signal(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : errno;
}

int nf_pidfd_wait(int pidfd, int block, int *code, int *status) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | (block ? 0 : WNOHANG)) < 0)
    if (errno != EINTR) return errno;
  if (info.si_pid == 0) return EAGAIN;
  *code = info.si_code;
  *status = info.si_status;
  return 0;
}

int nf_output_pipe(int ends[2]) {
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  fcntl(ends[0], F_SETFL, O_RDONLY | O_NONBLOCK);
  fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
  return 0;
}

int nf_open_beneath(const char *folder, const char *path) {
  int directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return -errno;
  struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
  int file = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
  int error = errno;
  close(directory);
  return file < 0 ? -error : file;
}
