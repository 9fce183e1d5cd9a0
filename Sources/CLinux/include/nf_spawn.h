/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one way this project starts a process. A request says everything that is to hold when the program begins;
 * what it does not name is not inherited: no descriptor, no signal handler, no signal mask.
 *
 * Between fork and exec only system calls are made, so a process with many threads may call it. A step that fails is
 * reported to the caller as (stage, errno) through a close-on-exec pipe, and nothing is left running.
 */
#ifndef NF_SPAWN_H
#define NF_SPAWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the child was doing when a step failed, in the order of the steps. */
enum nf_spawn_stage {
  NF_SPAWN_OK = 0,
  NF_SPAWN_REQUEST,      /* the request contradicts itself */
  NF_SPAWN_FORK,
  NF_SPAWN_SESSION,      /* setsid, setpgid */
  NF_SPAWN_JOIN,         /* setns; detail: index in namespaces */
  NF_SPAWN_UNSHARE,
  NF_SPAWN_ID_MAP,       /* uid_map, gid_map */
  NF_SPAWN_FORK_IN_PIDNS,
  NF_SPAWN_MOUNT,        /* detail: index in mounts, -1 for making the tree private */
  NF_SPAWN_READ_ONLY_ROOT,
  NF_SPAWN_DESCRIPTORS,  /* detail: index in descriptors, or -1 */
  NF_SPAWN_NO_NEW_PRIVS,
  NF_SPAWN_LANDLOCK,     /* detail: index in paths, or -1 */
  NF_SPAWN_TERMINAL,     /* the controlling terminal */
  NF_SPAWN_LIMIT,        /* detail: index in limits */
  NF_SPAWN_IDENTITY,     /* groups, gid, uid */
  NF_SPAWN_DIRECTORY,    /* chdir */
  NF_SPAWN_SECCOMP,
  NF_SPAWN_EXEC,
};

/* The caller's descriptor `from` becomes the program's `to`. */
struct nf_spawn_descriptor {
  int from;
  int to;
};

/* A namespace to join: a descriptor of /proc/PID/ns/x or a pidfd, and its CLONE_NEW* type (0: any one). */
struct nf_spawn_namespace {
  int descriptor;
  int type;
};

/*
 * A mount to make in the child's own mount namespace, in order, before its identity changes. With `type` NULL, `source`
 * is bound on `target`, and MS_RDONLY in `flags` makes that bind read-only.
 */
struct nf_spawn_mount {
  const char *source;
  const char *target;
  const char *type;
  unsigned long flags;
  const char *data;
};

struct nf_spawn_limit {
  int resource; /* RLIMIT_* */
  uint64_t soft;
  uint64_t hard;
};

/* What a Landlock rule opens. */
#define NF_SPAWN_PATH_READ 1u
#define NF_SPAWN_PATH_EXECUTE 2u
#define NF_SPAWN_PATH_WRITE 4u

/* A file, or all beneath a folder. A path that is not there is left out. */
struct nf_spawn_path {
  const char *path; /* NULL: `descriptor` says which */
  int descriptor;
  unsigned int access;
};

#define NF_SPAWN_NEW_SESSION 0x01u       /* setsid: a session and a process group of its own */
#define NF_SPAWN_NEW_GROUP 0x02u         /* setpgid: a process group of its own */
#define NF_SPAWN_DIE_WITH_PARENT 0x04u   /* SIGKILL when the thread that called nf_spawn ends */
#define NF_SPAWN_NO_NEW_PRIVILEGES 0x08u
#define NF_SPAWN_SET_IDENTITY 0x10u      /* uid, gid and (unless NF_SPAWN_KEEP_GROUPS) groups */
#define NF_SPAWN_KEEP_GROUPS 0x20u       /* for a user namespace that refuses setgroups */
#define NF_SPAWN_READ_ONLY 0x40u         /* the whole mount tree read-only; implies CLONE_NEWNS in unshare */
#define NF_SPAWN_LANDLOCK_PATHS 0x80u    /* only `paths` are reachable; left out where the kernel has no Landlock */
#define NF_SPAWN_COMPUTE_ONLY 0x100u     /* seccomp: no sockets, no processes, no writing opens; see spawn_filter.c */

struct nf_spawn_request {
  /* The program: a path with a slash in it, or a name looked up in `search` (colon-separated folders; NULL: only
     paths). When `program_descriptor` is not -1 that file is run instead and `path` is not looked at. */
  const char *path;
  const char *search;
  int program_descriptor;
  char *const *argv; /* ends with NULL */
  char *const *envp; /* ends with NULL */
  const char *cwd;   /* NULL: as the caller's */

  unsigned int flags; /* NF_SPAWN_* */

  /* The program has these descriptors and no others; 0, 1 and 2 are /dev/null when not named. */
  const struct nf_spawn_descriptor *descriptors;
  size_t descriptor_count;
  int terminal; /* the program's descriptor (after mapping) that becomes its controlling terminal, or -1 */

  const struct nf_spawn_namespace *namespaces;
  size_t namespace_count;
  int unshare;         /* CLONE_NEW* flags, after joining */
  const char *uid_map; /* written to /proc/self/uid_map after unsharing a user namespace, or NULL */
  const char *gid_map;

  const struct nf_spawn_mount *mounts; /* needs a mount namespace joined or unshared by this request */
  size_t mount_count;

  const struct nf_spawn_limit *limits;
  size_t limit_count;

  uid_t uid;
  gid_t gid;
  const gid_t *groups;
  size_t group_count;

  const struct nf_spawn_path *paths;
  size_t path_count;
};

struct nf_spawn_result {
  pid_t pid;
  int pidfd; /* close-on-exec, the caller's to close */
  int stage; /* where it failed */
  int error; /* errno of that step */
  int detail;
};

/* An empty request: descriptors -1, all else zero. */
void nf_spawn_request_init(struct nf_spawn_request *request);

/* Starts the program. 0: pid and pidfd are set. -1: stage, error and detail are set and no process is left. */
int nf_spawn(const struct nf_spawn_request *request, struct nf_spawn_result *result);

/* The name of a stage, for messages. */
const char *nf_spawn_stage_name(int stage);

/* The kernel's Landlock ABI, 0 when it has none. */
int nf_landlock_abi(void);

/* Whether a seccomp filter can be installed, on this kernel and architecture. */
int nf_seccomp_available(void);

/* Installs the filter of NF_SPAWN_COMPUTE_ONLY on the calling thread; no_new_privs must be set. 0 or an errno. */
int nf_seccomp_compute_only(void);

/* pidfd_send_signal(2): 0 or an errno. */
int nf_pidfd_signal(int pidfd, int signal);

/*
 * waitid(2) on a pidfd. 0: *code is CLD_EXITED, CLD_KILLED or CLD_DUMPED and *status its exit code or signal; EAGAIN:
 * still running and `block` was 0; else an errno.
 */
int nf_pidfd_wait(int pidfd, int block, int *code, int *status);

/* A close-on-exec pipe for bulk output: reading end non-blocking, a mebibyte deep if the host allows. 0 or an errno. */
int nf_output_pipe(int ends[2]);

/*
 * Opens a file for reading that lies beneath a folder: neither an absolute path nor `..` nor a symbolic link leads out of
 * it (openat2 with RESOLVE_BENEATH). The descriptor, or an errno with a minus before it.
 */
int nf_open_beneath(const char *folder, const char *path);

#ifdef __cplusplus
}
#endif
#endif
