// SPDX-License-Identifier: GPL-2.0-or-later

// A process as a container with Docker's default profile and no capabilities would have it: no new privileges, and a
// seccomp filter that refuses namespaces, mounts and what else the profile refuses without CAP_SYS_ADMIN.

import Foundation

enum Confinement {
  /// Put before a command, this confines it. Empty where no Python is there to install the filter.
  static let prefix: [String] = Host.path(of: "python3").map { [$0, "-c", script] } ?? []

  private static let script = """
    import ctypes, os, platform, struct, sys
    # unshare setns mount umount2 pivot_root keyctl add_key request_key bpf perf_event_open userfaultfd
    # open_by_handle_at init_module finit_module delete_module kexec_load reboot swapon swapoff acct quotactl
    # settimeofday clock_settime; then clone and clone3
    number = {
      "x86_64": (0xc000003e, [272, 308, 165, 166, 155, 250, 248, 249, 321, 298, 323, 304, 175, 313, 176, 246, 169,
        167, 168, 163, 179, 164, 227], 56, 435),
      "aarch64": (0xc00000b7, [97, 268, 40, 39, 41, 219, 217, 218, 280, 241, 282, 265, 105, 273, 106, 104, 142,
        224, 225, 89, 60, 170, 112], 220, 435),
    }[platform.machine()]
    machine, refused, clone, clone3 = number
    def ins(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
    program = [ins(0x20, 0, 0, 4), ins(0x15, 1, 0, machine), ins(0x06, 0, 0, 0x80000000), ins(0x20, 0, 0, 0)]
    for call in refused: program += [ins(0x15, 0, 1, call), ins(0x06, 0, 0, 0x00050001)]
    program += [ins(0x15, 0, 1, clone3), ins(0x06, 0, 0, 0x00050026)]
    program += [ins(0x15, 0, 3, clone), ins(0x20, 0, 0, 16), ins(0x45, 0, 1, 0x7e020000), ins(0x06, 0, 0, 0x00050001)]
    program += [ins(0x06, 0, 0, 0x7fff0000)]
    text = ctypes.create_string_buffer(b"".join(program))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [(38, 1, 0, 0, 0), (22, 2, ctypes.addressof(filter), 0, 0)]:
      if libc.prctl(*[ctypes.c_ulong(a) for a in arguments]) != 0: sys.exit(f"seccomp: {ctypes.get_errno()}")
    os.execvp(sys.argv[1], sys.argv[1:])
    """
}
