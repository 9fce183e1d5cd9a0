/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way into a lab; see nf_enter.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nf_enter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SHADOWS = 64, SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* MARK: what the request says */

struct entry {
  char *bytes;
  size_t size;
};

/* The value that follows `text` in the list, both as C strings; NULL at the end. */
static const char *next(const struct entry *entry, const char *text) {
  const char *end = entry->bytes + entry->size;
  text += strlen(text) + 1;
  return text < end ? text : NULL;
}

/* The first tag of the list. */
static const char *first(const struct entry *entry) { return next(entry, entry->bytes); }

/* Steps over a tag and its value. */
static const char *step(const struct entry *entry, const char *tag) {
  const char *value = next(entry, tag);
  return value ? next(entry, value) : NULL;
}

static const char *value_of(const struct entry *entry, const char *name) {
  for (const char *tag = first(entry); tag != NULL; tag = step(entry, tag))
    if (strcmp(tag, name) == 0) return next(entry, tag);
  return NULL;
}

static int number(const char *text) {
  char *end = NULL;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != 0 || value < 0 || value > 0x7fffffff) return -1;
  return (int)value;
}

static int descriptor_of(const struct entry *entry, const char *name) {
  const char *text = value_of(entry, name);
  return text ? number(text) : -1;
}

int64_t nf_sealed_size(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0) return -errno;
  if ((seals & SEALS) != SEALS) return -EPERM;
  struct stat info;
  if (fstat(descriptor, &info) < 0) return -errno;
  return info.st_size;
}

static bool load(int descriptor, struct entry *entry) {
  int64_t size = nf_sealed_size(descriptor);
  if (size < (int64_t)sizeof NF_ENTRY_MAGIC || size > (int64_t)NF_ENTRY_LIMIT) return false;
  char *bytes = malloc((size_t)size + 1);
  if (bytes == NULL) return false;
  size_t got = 0;
  while (got < (size_t)size) {
    ssize_t count = pread(descriptor, bytes + got, (size_t)size - got, (off_t)got);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    got += (size_t)count;
  }
  bytes[size] = 0;
  if (got != (size_t)size || memcmp(bytes, NF_ENTRY_MAGIC, sizeof NF_ENTRY_MAGIC) != 0 || bytes[size - 1] != 0) {
    free(bytes);
    return false;
  }
  *entry = (struct entry){bytes, (size_t)size};
  return true;
}

int nf_sealed_file(const void *bytes, size_t size) {
  int file = memfd_create("netforge", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -errno;
  size_t done = 0;
  while (done < size) {
    ssize_t count = pwrite(file, (const char *)bytes + done, size - done, (off_t)done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      int error = count < 0 ? errno : ENOSPC;
      close(file);
      return -error;
    }
    done += (size_t)count;
  }
  if (fcntl(file, F_ADD_SEALS, SEALS) < 0) {
    int error = errno;
    close(file);
    return -error;
  }
  return file;
}

/* MARK: failing */

static int status_descriptor = -1;

static void write_all(int file, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t count = write(file, bytes, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    bytes += count;
    size -= (size_t)count;
  }
}

static _Noreturn void fail(
    const char *code, int error, const char *cause, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* `cause` NULL: the errno's own words. */
static _Noreturn void fail(
    const char *code, int error, const char *cause, const char *remedy, const char *format, ...) {
  char operation[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(operation, sizeof operation, format, arguments);
  va_end(arguments);
  if (cause == NULL) cause = strerror(error);
  char text[4096];
  int length;
  if (status_descriptor >= 0) {
    length = snprintf(
        text, sizeof text, "%s%c%d%c%s%c%s%c%s%c", code, 0, error, 0, operation, 0, cause, 0, remedy ? remedy : "", 0);
  } else {
    length = snprintf(
        text, sizeof text, "netforge: cannot %s: %s%s%s\n", operation, cause, remedy ? "; " : "", remedy ? remedy : "");
  }
  if (length > (int)sizeof text - 1) length = (int)sizeof text - 1;
  if (length > 0) write_all(status_descriptor >= 0 ? status_descriptor : 2, text, (size_t)length);
  bool missing = strcmp(code, "not-started") == 0 && (error == ENOENT || error == ENOTDIR);
  _exit(missing ? 127 : 126);
}

/* The number in a file under /proc/sys, -1 when it is not there. */
static long setting(const char *path) {
  char text[32];
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t count = read(file, text, sizeof text - 1);
  close(file);
  if (count <= 0) return -1;
  text[count] = 0;
  return strtol(text, NULL, 10);
}

const char *nf_user_namespace_remedy(int error) {
  if (setting("/proc/sys/user/max_user_namespaces") == 0)
    return "user.max_user_namespaces is 0: raise it with sysctl, or run as root";
  if (setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
    return "kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl, or run as root";
  if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0)
    return "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0 with sysctl, or run as root";
  switch (error) {
    case ENOSPC:
      return "the limit user.max_user_namespaces, user.max_net_namespaces or user.max_mnt_namespaces is reached: raise "
             "it with sysctl, or take labs down";
    case EINVAL: return "the kernel was built without user namespaces (CONFIG_USER_NS): run as root";
    case ENOSYS: return "the kernel was built without namespaces: use a kernel with CONFIG_USER_NS";
    default: return "a container's seccomp profile or a chroot may forbid it: run as root or outside of it";
  }
}

/* MARK: a user namespace */

static bool write_text(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t count = write(file, text, strlen(text));
  int error = errno;
  close(file);
  errno = error;
  return count == (ssize_t)strlen(text);
}

/* Finds `user:start:count` for the name or the number of the user, as subuid(5) says; count is at most a million. */
static bool granted_range(const char *path, const char *name, unsigned id, unsigned long *start, unsigned long *count) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  char line[512];
  bool found = false;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    char *owner = line;
    char *rest = strchr(line, ':');
    if (rest == NULL) continue;
    *rest++ = 0;
    char decimal[16];
    snprintf(decimal, sizeof decimal, "%u", id);
    if (strcmp(owner, decimal) != 0 && (name == NULL || strcmp(owner, name) != 0)) continue;
    char *end = NULL;
    *start = strtoul(rest, &end, 10);
    if (end == rest || *end != ':') continue;
    rest = end + 1;
    *count = strtoul(rest, &end, 10);
    found = end != rest && *count > 0 && *start > 0 && *start <= 0xfffffffeul;
    if (*count > 1000000) *count = 1000000;
  }
  fclose(file);
  return found;
}

/* Runs newuidmap or newgidmap, which are set-user-ID or carry the capability. */
static bool run_mapper(const char *name, pid_t target, unsigned id, unsigned long start, unsigned long count) {
  static const char *const folders[] = {"/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"};
  char path[64], words[4][24];
  snprintf(words[0], sizeof words[0], "%d", (int)target);
  snprintf(words[1], sizeof words[1], "%u", id);
  snprintf(words[2], sizeof words[2], "%lu", start);
  snprintf(words[3], sizeof words[3], "%lu", count);
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    snprintf(path, sizeof path, "%s/%s", folders[i], name);
    if (access(path, X_OK) < 0) continue;
    pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
      int nothing = open("/dev/null", O_RDWR);
      if (nothing >= 0) dup2(nothing, 2);
      execl(path, name, words[0], "0", words[1], "1", "1", words[2], words[3], (char *)NULL);
      _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  return false;
}

/*
 * Maps the caller's ids to 0 in its new user namespace. The ids that /etc/subuid grants are mapped from 1 on by a child
 * that stayed outside; without them, or without newuidmap, there is one id.
 */
struct mapper {
  pid_t pid;
  int request; /* written when the namespace is there */
  int answer;  /* bit 0: users mapped, bit 1: groups mapped */
};

static struct mapper start_mapper(void) {
  struct mapper mapper = {-1, -1, -1};
  unsigned uid = getuid(), gid = getgid();
  struct passwd *user = getpwuid(uid);
  const char *name = user ? user->pw_name : NULL;
  unsigned long uid_start = 0, uid_count = 0, gid_start = 0, gid_count = 0;
  bool users = granted_range("/etc/subuid", name, uid, &uid_start, &uid_count);
  bool groups = granted_range("/etc/subgid", name, uid, &gid_start, &gid_count);
  if (!users && !groups) return mapper;
  int request[2], answer[2];
  if (pipe2(request, O_CLOEXEC) < 0) return mapper;
  if (pipe2(answer, O_CLOEXEC) < 0) {
    close(request[0]);
    close(request[1]);
    return mapper;
  }
  pid_t parent = getpid();
  pid_t child = fork();
  if (child == 0) {
    close(request[1]);
    char byte = 0;
    if (read(request[0], &byte, 1) != 1) _exit(1);
    char done = 0;
    if (users && run_mapper("newuidmap", parent, uid, uid_start, uid_count)) done |= 1;
    if (groups && run_mapper("newgidmap", parent, gid, gid_start, gid_count)) done |= 2;
    write_all(answer[1], &done, 1);
    _exit(0);
  }
  close(request[0]);
  close(answer[1]);
  mapper.request = request[1];
  mapper.answer = answer[0];
  mapper.pid = child;
  return mapper;
}

static void map_ids(struct mapper mapper, unsigned uid, unsigned gid) {
  char done = 0;
  if (mapper.pid > 0) {
    write_all(mapper.request, "m", 1);
    while (read(mapper.answer, &done, 1) < 0 && errno == EINTR) {
    }
    while (waitpid(mapper.pid, NULL, 0) < 0 && errno == EINTR) {
    }
  }
  if (mapper.request >= 0) {
    close(mapper.request);
    close(mapper.answer);
  }
  char text[64];
  if (!(done & 2)) {
    if (!write_text("/proc/self/setgroups", "deny") && errno != ENOENT)
      fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "deny setgroups in the user namespace");
    snprintf(text, sizeof text, "0 %u 1\n", gid);
    if (!write_text("/proc/self/gid_map", text))
      fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "map the group %u into the user namespace", gid);
  }
  if (!(done & 1)) {
    snprintf(text, sizeof text, "0 %u 1\n", uid);
    if (!write_text("/proc/self/uid_map", text))
      fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "map the user %u into the user namespace", uid);
  }
}

/* MARK: mounts */

/* The devices of the memory file systems that stand for folders of the host. */
static dev_t shadows[MAX_SHADOWS];
static size_t shadow_count;

static bool is_shadow(dev_t device) {
  for (size_t i = 0; i < shadow_count; i++)
    if (shadows[i] == device) return true;
  return false;
}

/* Shows one entry of the folder behind `from` in the folder `to`. What cannot be shown is left out. */
static void show_entry(int from, const char *to, const char *name) {
  char source[512], target[512];
  if (snprintf(source, sizeof source, "/proc/self/fd/%d/%s", from, name) >= (int)sizeof source) return;
  if (snprintf(target, sizeof target, "%s/%s", to, name) >= (int)sizeof target) return;
  struct stat info;
  if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (S_ISLNK(info.st_mode)) {
    char text[4096];
    ssize_t length = readlinkat(from, name, text, sizeof text - 1);
    if (length < 0) return;
    text[length] = 0;
    if (symlink(text, target) < 0) return;
    return;
  }
  if (S_ISDIR(info.st_mode)) {
    if (mkdir(target, 0755) < 0) return;
  } else {
    int file = open(target, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) return;
    close(file);
  }
  if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) == 0) return;
  if (S_ISDIR(info.st_mode))
    rmdir(target);
  else
    unlink(target);
}

/*
 * Puts a memory file system in the place of a folder, with every entry of the folder shown in it, so that entries can be
 * added that the host does not see. It is built on /tmp, which is always there, and moved. 0 or an errno.
 */
static int shadow(const char *folder) {
  static const char place[] = "/tmp";
  if (shadow_count == MAX_SHADOWS) return EMFILE;
  int from = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0) return errno;
  int scan = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = scan < 0 ? NULL : fdopendir(scan);
  struct stat info, temporary;
  int error = 0;
  if (entries == NULL || fstat(from, &info) < 0 || stat(place, &temporary) < 0) {
    error = errno;
  } else {
    char options[64];
    snprintf(options, sizeof options, "mode=%o", (unsigned)(info.st_mode & 07777));
    if (mount("netforge", place, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0) error = errno;
  }
  if (error == 0) {
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
      if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) show_entry(from, place, entry->d_name);
    bool moves = info.st_dev != temporary.st_dev || info.st_ino != temporary.st_ino;
    struct stat made;
    char target[64];
    snprintf(target, sizeof target, "/proc/self/fd/%d", from);
    if (stat(place, &made) < 0 || (moves && mount(place, target, NULL, MS_MOVE, NULL) < 0)) {
      error = errno;
      umount2(place, MNT_DETACH);
    } else {
      shadows[shadow_count++] = made.st_dev;
    }
  }
  if (entries != NULL) closedir(entries);
  else if (scan >= 0) close(scan);
  close(from);
  return error;
}

/* Makes `path` and the folders above it, in memory only. 0 or an errno. */
static int make_up(const char *path, bool is_folder) {
  char prefix[4096];
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof prefix || path[0] != '/') return EINVAL;
  memcpy(prefix, path, length + 1);
  struct stat info;
  /* The nearest folder that is there. */
  size_t end = length;
  do {
    while (end > 0 && prefix[end] != '/') end--;
    prefix[end == 0 ? 1 : end] = 0;
    if (stat(prefix, &info) == 0) break;
    if (errno != ENOENT) return errno;
    if (end > 0) end--;
  } while (end > 0);
  if (!S_ISDIR(info.st_mode)) return ENOTDIR;
  if (end == 0) return EROFS; /* the root itself is not replaced */
  if (!is_shadow(info.st_dev)) {
    int error = shadow(prefix);
    if (error != 0) return error;
  }
  memcpy(prefix, path, length + 1);
  for (size_t i = end + 1; i < length; i++) {
    if (prefix[i] != '/') continue;
    prefix[i] = 0;
    if (mkdir(prefix, 0755) < 0 && errno != EEXIST) return errno;
    prefix[i] = '/';
  }
  if (is_folder) return mkdir(path, 0755) < 0 && errno != EEXIST ? errno : 0;
  /* A link that leads nowhere, such as resolv.conf has on some hosts: the copy of it gives way. */
  if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && is_shadow(info.st_dev) && unlink(path) < 0) return errno;
  int file = open(path, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file < 0) return errno;
  close(file);
  return 0;
}

static void show_file(const char *source, const char *target) {
  struct stat info;
  if (stat(target, &info) < 0) {
    if (errno == ENOENT) {
      int error = make_up(target, false);
      if (error == EROFS)
        fail("unavailable", error, "its first folder does not exist on this host", "make that folder, or choose a path in "
             "one that exists", "lay out the file %s", target);
      if (error != 0) fail("unavailable", error, NULL, NULL, "lay out the file %s", target);
    } else {
      fail("unavailable", errno, NULL, NULL, "lay out the file %s", target);
    }
  } else if (S_ISDIR(info.st_mode)) {
    fail("unavailable", EISDIR, NULL, "give the path of a file", "lay out the file %s", target);
  }
  if (mount(source, target, NULL, MS_BIND, NULL) < 0) fail("unavailable", errno, NULL, NULL, "lay out the file %s", target);
}

/* /sys of the network namespace that this process is in now. Programs live without it, so failing is no error. */
static void show_sysfs(void) {
  static const char *const kept[] = {"/sys/fs/cgroup", "/sys/fs/bpf"};
  int files[2];
  for (int i = 0; i < 2; i++) files[i] = open(kept[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0) {
    for (int i = 0; i < 2; i++) {
      char source[64];
      snprintf(source, sizeof source, "/proc/self/fd/%d", files[i]);
      if (files[i] >= 0 && mount(source, kept[i], NULL, MS_BIND | MS_REC, NULL) < 0) continue;
    }
  }
  for (int i = 0; i < 2; i++)
    if (files[i] >= 0) close(files[i]);
}

/* MARK: the steps */

static void bring_loopback_up(void) {
  int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (file < 0) return;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (ioctl(file, SIOCSIFFLAGS, &request) < 0) {
    /* Nothing of the lab runs over this loopback. */
  }
  close(file);
}

static void become_rootless(void) {
  unsigned uid = geteuid(), gid = getegid();
  struct mapper mapper = start_mapper();
  if (unshare(CLONE_NEWUSER) < 0) {
    int error = errno;
    const char *code = error == EPERM || error == EACCES ? "permission" : "unavailable";
    fail(code, error, NULL, nf_user_namespace_remedy(error), "make a user namespace");
  }
  map_ids(mapper, uid, gid);
  if (unshare(CLONE_NEWNS) < 0)
    fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "make a mount namespace in the user namespace");
  if (unshare(CLONE_NEWNET) < 0)
    fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "make a network namespace in the user namespace");
  bring_loopback_up();
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
    fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "take the mounts out of the host's sight");
  struct stat info;
  if (stat("/run/netns", &info) == 0) {
    if (mount("netforge", "/run/netns", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
      fail("unavailable", errno, NULL, nf_user_namespace_remedy(errno), "mount a memory file system at /run/netns");
    return;
  }
  int error = make_up("/run/netns", true);
  if (error != 0)
    fail("unavailable", error, NULL, nf_user_namespace_remedy(error), "make a /run of the lab's own");
}

static void join(const struct entry *entry, const char *tag, int type, const char *what) {
  if (value_of(entry, tag) == NULL) return;
  int file = descriptor_of(entry, tag);
  if (setns(file, type) < 0) {
    const char *code = errno == EPERM ? "permission" : "unavailable";
    const char *remedy = errno == EPERM ? "use the account that brought the lab up" : NULL;
    fail(code, errno, NULL, remedy, "enter the %s namespace of the lab", what);
  }
  close(file);
}

static void join_netns(const struct entry *entry) {
  join(entry, "net", CLONE_NEWNET, "network");
  const char *path = value_of(entry, "netns");
  if (path == NULL) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("unavailable", errno, NULL, "see netforge status", "open the network namespace %s", path);
  if (setns(file, CLONE_NEWNET) < 0) {
    const char *code = errno == EPERM ? "permission" : "unavailable";
    fail(code, errno, NULL, errno == EPERM ? "run as root" : NULL, "enter the network namespace %s", path);
  }
  close(file);
}

static void make_view(const struct entry *entry) {
  if (value_of(entry, "view") == NULL) return;
  if (unshare(CLONE_NEWNS) < 0)
    fail(errno == EPERM ? "permission" : "unavailable", errno, NULL, errno == EPERM ? "run as root" : NULL,
         "make a mount namespace for the program");
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
    fail("unavailable", errno, NULL, NULL, "take the program's mounts out of the host's sight");
  show_sysfs();
  for (const char *tag = first(entry); tag != NULL; tag = step(entry, tag)) {
    if (strcmp(tag, "bind") != 0) continue;
    const char *source = next(entry, tag);
    const char *on = source ? next(entry, source) : NULL;
    const char *target = on && strcmp(on, "on") == 0 ? next(entry, on) : NULL;
    if (target == NULL) fail("bug", EINVAL, "a bind without its target", "please report it", "read the entry request");
    show_file(source, target);
  }
}

static bool is_in_path(const char *name) {
  const char *folder = getenv("PATH");
  char path[4096];
  while (folder != NULL) {
    const char *end = strchr(folder, ':');
    int length = end ? (int)(end - folder) : (int)strlen(folder);
    if (snprintf(path, sizeof path, "%.*s/%s", length, folder, name) < (int)sizeof path && access(path, F_OK) == 0)
      return true;
    folder = end ? end + 1 : NULL;
  }
  return false;
}

static _Noreturn void run_program(const struct entry *entry) {
  size_t count = 0;
  for (const char *tag = first(entry); tag != NULL; tag = step(entry, tag)) {
    const char *value = next(entry, tag);
    if (value == NULL) break;
    if (strcmp(tag, "arg") == 0) count++;
    if (strcmp(tag, "env") == 0 && strchr(value, '=') != NULL && putenv((char *)value) != 0)
      fail("bug", errno, NULL, NULL, "set the environment");
  }
  char **arguments = calloc(count + 1, sizeof *arguments);
  if (count == 0 || arguments == NULL) fail("bug", EINVAL, "no program is named", "please report it", "start a program");
  size_t at = 0;
  for (const char *tag = first(entry); tag != NULL; tag = step(entry, tag))
    if (strcmp(tag, "arg") == 0 && at < count) arguments[at++] = (char *)next(entry, tag);
  const char *folder = value_of(entry, "cwd");
  if (folder != NULL && chdir(folder) < 0) {
    if (value_of(entry, "cwd-required") != NULL) fail("not-started", EACCES, strerror(errno), NULL, "change to %s", folder);
    if (chdir("/") < 0) fail("not-started", EACCES, strerror(errno), NULL, "change to /");
  }
  execvp(arguments[0], arguments);
  /* A folder of PATH that may not be read is no program that may not be run. */
  if (errno == EACCES && strchr(arguments[0], '/') == NULL && !is_in_path(arguments[0])) errno = ENOENT;
  fail("not-started", errno, errno == ENOENT ? "command not found" : NULL, NULL, "start '%s'", arguments[0]);
}

static sigset_t inherited_mask;

int nf_restore_signal_mask(void) { return pthread_sigmask(SIG_SETMASK, &inherited_mask, NULL); }

__attribute__((constructor)) static void enter(int argc, char **argv) {
  pthread_sigmask(SIG_SETMASK, NULL, &inherited_mask);
  if (argc < 3 || argv == NULL) return;
  bool runs = strcmp(argv[1], "__enter") == 0;
  if (!runs && strcmp(argv[1], "__lab") != 0) return;
  int file = number(argv[2]);
  struct entry entry;
  if (file < 3 || !load(file, &entry)) return;
  status_descriptor = descriptor_of(&entry, "status");
  if (status_descriptor >= 0) fcntl(status_descriptor, F_SETFD, FD_CLOEXEC);
  if (value_of(&entry, "rootless") != NULL) become_rootless();
  join(&entry, "user", CLONE_NEWUSER, "user");
  join(&entry, "mount", CLONE_NEWNS, "mount");
  join_netns(&entry);
  make_view(&entry);
  if (runs) {
    close(file);
    /* The thread that called exec may have been one of a pool, which takes no signals; the mask lives on through exec. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    run_program(&entry);
  }
  status_descriptor = -1;
  free(entry.bytes);
}

/* MARK: for threads that have begun */

struct socket_request {
  int netns, domain, type, protocol, result;
};

static void *make_socket(void *argument) {
  struct socket_request *request = argument;
  if (setns(request->netns, CLONE_NEWNET) < 0) {
    request->result = -errno;
    return NULL;
  }
  request->result = socket(request->domain, request->type | SOCK_CLOEXEC, request->protocol);
  if (request->result < 0) request->result = -errno;
  return NULL;
}

int nf_socket_in(int netns, int domain, int type, int protocol) {
  struct socket_request request = {netns, domain, type, protocol, -EAGAIN};
  pthread_t thread;
  int error = pthread_create(&thread, NULL, make_socket, &request);
  if (error != 0) return -error;
  pthread_join(thread, NULL);
  return request.result;
}

int nf_user_namespace_probe(void) {
  int result[2];
  if (pipe2(result, O_CLOEXEC) < 0) return errno;
  unsigned uid = geteuid();
  /* vfork would share the caller's memory while it unshares; a plain fork of a process with threads may only call
     what is safe in a signal handler, and this does. */
  pid_t child = fork();
  if (child < 0) {
    int error = errno;
    close(result[0]);
    close(result[1]);
    return error;
  }
  if (child == 0) {
    int error = 0;
    char text[32] = "0 ";
    size_t at = 2;
    char digits[12];
    size_t count = 0;
    do digits[count++] = (char)('0' + uid % 10);
    while ((uid /= 10) != 0);
    while (count > 0) text[at++] = digits[--count];
    memcpy(text + at, " 1\n", 4);
    if (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/self/uid_map", text) ||
        unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
      error = errno;
    write_all(result[1], (const char *)&error, sizeof error);
    _exit(0);
  }
  close(result[1]);
  int error = EIO;
  ssize_t got;
  while ((got = read(result[0], &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (got != (ssize_t)sizeof error) error = EIO;
  close(result[0]);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
  }
  return error;
}

int nf_become_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? errno : 0; }

int nf_ended_child(void) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG) < 0) return 0;
  return info.si_pid;
}
