/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seccomp filter of NF_SPAWN_COMPUTE_ONLY: what a program needs that reads, computes and writes to the descriptors it
 * was given. All else is refused with EPERM: sockets, new processes, signals to others, ptrace, mount, bpf, io_uring,
 * namespaces, and every open that could write. Threads are allowed. It holds where Landlock does not exist.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nf_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

int nf_seccomp_available(void) {
#ifdef OUR_ARCHITECTURE
  /* With the filter missing, a kernel that has seccomp says EFAULT; one that has not, EINVAL. */
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
#else
  return 0;
#endif
}

#ifdef OUR_ARCHITECTURE

static const int allowed[] = {
  SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_close, SYS_close_range, SYS_dup,
  SYS_dup3, SYS_fcntl, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_getdents64, SYS_getcwd, SYS_readlinkat, SYS_faccessat,
  SYS_faccessat2, SYS_statfs, SYS_fstatfs, SYS_pipe2, SYS_ppoll, SYS_pselect6, SYS_eventfd2, SYS_epoll_create1,
  SYS_epoll_ctl, SYS_epoll_pwait, SYS_timerfd_create, SYS_timerfd_settime,
  SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_membarrier,
  SYS_futex, SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq, SYS_sched_yield,
  SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_get_priority_max,
  SYS_sched_get_priority_min, SYS_getcpu,
  SYS_exit, SYS_exit_group, SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
  SYS_rt_sigpending, SYS_sigaltstack,
  SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups, SYS_getpgid,
  SYS_getsid, SYS_getresuid, SYS_getresgid, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_times, SYS_getrlimit, SYS_umask,
  SYS_getrandom, SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
  /* The program itself is begun with this one, and what it would begin in its turn runs under the same filter. */
  SYS_execveat,
#ifdef __x86_64__
  SYS_arch_prctl, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_poll, SYS_select, SYS_dup2, SYS_pipe,
  SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_getdents, SYS_getpgrp, SYS_time,
#endif
};

/* Newer forms of calls that a libc tries first: it falls back when they do not exist. */
static const int absent[] = {
  SYS_clone3, SYS_openat2,
#ifdef SYS_epoll_pwait2
  SYS_epoll_pwait2,
#endif
};

enum { COUNT_ALLOWED = sizeof allowed / sizeof allowed[0], COUNT_ABSENT = sizeof absent / sizeof absent[0] };

struct program {
  struct sock_filter code[2 * (COUNT_ALLOWED + COUNT_ABSENT) + 96];
  unsigned short length;
};

static void emit(struct program *program, unsigned short code, unsigned char yes, unsigned char no, unsigned int k) {
  program->code[program->length++] = (struct sock_filter){code, yes, no, k};
}

#define LOAD (BPF_LD | BPF_W | BPF_ABS)
#define IF_EQUAL (BPF_JMP | BPF_JEQ | BPF_K)
#define IF_ANY_BIT (BPF_JMP | BPF_JSET | BPF_K)
#define IF_AT_LEAST (BPF_JMP | BPF_JGE | BPF_K)
#define GIVE (BPF_RET | BPF_K)
#define REFUSE(error) (SECCOMP_RET_ERRNO | ((error) & SECCOMP_RET_DATA))
/* The low half of an argument; both architectures are little-endian. */
#define ARGUMENT(n) ((unsigned int)offsetof(struct seccomp_data, args) + 8u * (n))
#define NUMBER ((unsigned int)offsetof(struct seccomp_data, nr))

/* The accumulator holds the number of the call, here and after every test that did not match. */
static void answer(struct program *program, int number, unsigned int result) {
  emit(program, IF_EQUAL, 0, 1, (unsigned int)number);
  emit(program, GIVE, 0, 0, result);
}

/* Only opens that cannot change a file. */
static void open_for_reading(struct program *program, int number, unsigned int argument) {
  emit(program, IF_EQUAL, 0, 4, (unsigned int)number);
  emit(program, LOAD, 0, 0, ARGUMENT(argument));
  emit(program, IF_ANY_BIT, 0, 1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
  emit(program, GIVE, 0, 0, REFUSE(EACCES));
  emit(program, GIVE, 0, 0, SECCOMP_RET_ALLOW);
}

/* Only when the argument has one value. */
static void argument_equals(struct program *program, int number, unsigned int argument, unsigned int value) {
  emit(program, IF_EQUAL, 0, 4, (unsigned int)number);
  emit(program, LOAD, 0, 0, ARGUMENT(argument));
  emit(program, IF_EQUAL, 0, 1, value);
  emit(program, GIVE, 0, 0, SECCOMP_RET_ALLOW);
  emit(program, GIVE, 0, 0, REFUSE(EPERM));
}

int nf_seccomp_compute_only(void) {
  struct program program;
  program.length = 0;
  emit(&program, LOAD, 0, 0, (unsigned int)offsetof(struct seccomp_data, arch));
  emit(&program, IF_EQUAL, 1, 0, OUR_ARCHITECTURE);
  emit(&program, GIVE, 0, 0, SECCOMP_RET_KILL_PROCESS);
  emit(&program, LOAD, 0, 0, NUMBER);
#ifdef __x86_64__
  emit(&program, IF_AT_LEAST, 0, 1, 0x40000000u); /* the x32 numbers */
  emit(&program, GIVE, 0, 0, SECCOMP_RET_KILL_PROCESS);
  open_for_reading(&program, SYS_open, 1);
#endif
  open_for_reading(&program, SYS_openat, 2);
  for (unsigned int i = 0; i < COUNT_ALLOWED; i++) answer(&program, allowed[i], SECCOMP_RET_ALLOW);
  for (unsigned int i = 0; i < COUNT_ABSENT; i++) answer(&program, absent[i], REFUSE(ENOSYS));
  argument_equals(&program, SYS_ioctl, 1, TCGETS); /* isatty */

  /* A thread, never a process or a namespace. */
  emit(&program, IF_EQUAL, 0, 4, SYS_clone);
  emit(&program, LOAD, 0, 0, ARGUMENT(0));
  emit(&program, IF_ANY_BIT, 0, 1, CLONE_THREAD);
  emit(&program, GIVE, 0, 0, SECCOMP_RET_ALLOW);
  emit(&program, GIVE, 0, 0, REFUSE(EPERM));

  /* Signals to itself only: abort() raises one. */
  unsigned int self = (unsigned int)getpid();
  argument_equals(&program, SYS_tgkill, 0, self);
  argument_equals(&program, SYS_kill, 0, self);
  argument_equals(&program, SYS_rt_tgsigqueueinfo, 0, self);

  /* Limits of its own may be read and lowered. */
  emit(&program, IF_EQUAL, 0, 5, SYS_prlimit64);
  emit(&program, LOAD, 0, 0, ARGUMENT(0));
  emit(&program, IF_EQUAL, 1, 0, 0);
  emit(&program, IF_EQUAL, 0, 1, self);
  emit(&program, GIVE, 0, 0, SECCOMP_RET_ALLOW);
  emit(&program, GIVE, 0, 0, REFUSE(EPERM));

  /* Names of threads and of memory. */
  emit(&program, IF_EQUAL, 0, 6, SYS_prctl);
  emit(&program, LOAD, 0, 0, ARGUMENT(0));
  emit(&program, IF_EQUAL, 2, 0, PR_SET_NAME);
  emit(&program, IF_EQUAL, 1, 0, PR_GET_NAME);
  emit(&program, IF_EQUAL, 0, 1, 0x53564d41 /* PR_SET_VMA */);
  emit(&program, GIVE, 0, 0, SECCOMP_RET_ALLOW);
  emit(&program, GIVE, 0, 0, REFUSE(EPERM));
  emit(&program, GIVE, 0, 0, REFUSE(EPERM));

  struct sock_fprog filter = {program.length, program.code};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0 ? 0 : errno;
}

#else

int nf_seccomp_compute_only(void) { return ENOSYS; }

#endif
