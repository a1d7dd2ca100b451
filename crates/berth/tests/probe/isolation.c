// What a container's root can do to the machine: tries it, and prints a line `name ok` or `name ERRNO` for each.
// Files of the kernel are opened for writing and left as they are, so that a container that is denied nothing breaks
// nothing of the host either.
//
//     cc -static -O1 -o probe isolation.c
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// In a process of its own: what succeeds ends with it.
#define TRY(name, expression)                                                  \
  do {                                                                         \
    fflush(stdout);                                                            \
    pid_t child = fork();                                                      \
    if (child == 0) {                                                          \
      errno = 0;                                                               \
      long result = (long)(expression);                                        \
      _exit(result >= 0 ? 0 : errno ? errno : 255);                            \
    }                                                                          \
    int status = 0;                                                            \
    waitpid(child, &status, 0);                                                \
    if (WIFSIGNALED(status))                                                   \
      printf("%s signal %d\n", name, WTERMSIG(status));                        \
    else if (WEXITSTATUS(status) == 0)                                         \
      printf("%s ok\n", name);                                                 \
    else                                                                       \
      printf("%s %s\n", name, strerrorname_np(WEXITSTATUS(status)));           \
  } while (0)

static long may_write(const char *path) { return open(path, O_WRONLY | O_CLOEXEC); }

static long survive(void) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  return file < 0 ? -1 : write(file, "-1000", 5);
}

static long set_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return clock_settime(CLOCK_REALTIME, &now);
}

static long set_day(void) {
  struct timeval now;
  gettimeofday(&now, NULL);
  return settimeofday(&now, NULL);
}

static long look(const char *path) {
  char byte;
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0)
    return -1;
  // Nothing to read is nothing seen.
  long count = read(file, &byte, 1);
  if (count == 0)
    errno = ENODATA;
  return count > 0 ? 0 : -1;
}

static long node(mode_t kind, int major, int minor) {
  unlink("/dev/probe");
  if (mknod("/dev/probe", kind | 0600, makedev(major, minor)) < 0)
    return -1;
  long result = look("/dev/probe");
  int error = errno;
  unlink("/dev/probe");
  errno = error;
  return result;
}

static long new_process(uint64_t flags) {
  struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
  long child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0)
    _exit(0);
  return child;
}

static long by_handle(void) {
  struct file_handle *handle = calloc(1, sizeof *handle + MAX_HANDLE_SZ);
  handle->handle_bytes = 8;
  handle->handle_type = 1;
  // The inode of a root directory, as the old way out of docker took it.
  ((uint32_t *)handle->f_handle)[0] = 2;
  int place = open("/", O_RDONLY | O_DIRECTORY);
  return syscall(SYS_open_by_handle_at, place, handle, O_RDONLY);
}

static long make_map(void) {
  union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static long count_events(void) {
  struct perf_event_attr attributes = {
      .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_CPU_CLOCK};
  return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

static long remember(const char *path) {
  struct file_handle *handle = calloc(1, sizeof *handle + MAX_HANDLE_SZ);
  int mount = 0;
  handle->handle_bytes = MAX_HANDLE_SZ;
  return syscall(SYS_name_to_handle_at, AT_FDCWD, path, handle, &mount, 0);
}

static long raise_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_max += 1;
  return setrlimit(RLIMIT_NOFILE, &limit);
}

static long trace_first(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0); }

static long read_memory(void) {
  char byte;
  struct iovec here = {&byte, 1}, there = {(void *)0x1000, 1};
  return process_vm_readv(1, &here, 1, &there, 1, 0);
}

static long join(const char *path) {
  int file = open(path, O_RDONLY);
  return file < 0 ? -1 : setns(file, 0);
}

// In whichever hierarchy there is such a file: release_agent is CVE-2022-0492.
static long own_cgroup(const char *file, int makes) {
  static const char *places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified",
                                 "/sys/fs/cgroup/pids"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", places[i], file);
    if (makes ? mkdir(path, 0755) >= 0 : may_write(path) >= 0) {
      if (makes)
        rmdir(path);
      return 0;
    }
  }
  return -1;
}

int main(void) {
  // Mounts and roots.
  TRY("mount tmpfs", mount("x", "/tmp", "tmpfs", 0, ""));
  TRY("mount bind", mount("/", "/tmp", NULL, MS_BIND, ""));
  TRY("mount proc", mount("proc", "/tmp", "proc", 0, ""));
  TRY("mount remount sys", mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, ""));
  TRY("mount remount proc/sys", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, ""));
  TRY("umount proc/sys", umount2("/proc/sys", MNT_DETACH));
  TRY("umount kcore", umount2("/proc/kcore", MNT_DETACH));
  TRY("pivot_root", syscall(SYS_pivot_root, "/", "/tmp"));
  TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
  TRY("fspick", syscall(SYS_fspick, AT_FDCWD, "/", 0));
  TRY("open_tree clone", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
  TRY("move_mount", syscall(SYS_move_mount, -1, "", -1, "", 0));
  TRY("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, "", 0));
  // Namespaces.
  TRY("unshare user", unshare(CLONE_NEWUSER));
  TRY("unshare mount", unshare(CLONE_NEWNS));
  TRY("unshare pid", unshare(CLONE_NEWPID));
  TRY("unshare net", unshare(CLONE_NEWNET));
  TRY("unshare uts", unshare(CLONE_NEWUTS));
  TRY("unshare ipc", unshare(CLONE_NEWIPC));
  TRY("unshare cgroup", unshare(CLONE_NEWCGROUP));
  TRY("unshare files", unshare(CLONE_FILES));
  TRY("clone user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  TRY("clone3 user", new_process(CLONE_NEWUSER));
  TRY("clone3 plain", new_process(0));
  TRY("setns mount", join("/proc/1/ns/mnt"));
  TRY("setns user", join("/proc/1/ns/user"));
  // Other processes and their memory.
  TRY("ptrace first", trace_first());
  TRY("read memory of first", read_memory());
  TRY("kcmp", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
  TRY("pidfd_getfd", syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, 1, 0), 0, 0));
  TRY("signal pid 2147483647", kill(2147483647, 0));
  // Devices.
  TRY("node mem", node(S_IFCHR, 1, 1));
  TRY("node kmsg", node(S_IFCHR, 1, 11));
  TRY("node port", node(S_IFCHR, 1, 4));
  TRY("node null", node(S_IFCHR, 1, 3));
  TRY("node zero", node(S_IFCHR, 1, 5));
  TRY("node disk vda", node(S_IFBLK, 254, 0));
  TRY("node disk sda", node(S_IFBLK, 8, 0));
  TRY("node loop", node(S_IFBLK, 7, 0));
  TRY("node fuse", node(S_IFCHR, 10, 229));
  TRY("node kvm", node(S_IFCHR, 10, 232));
  TRY("open /dev/mem", look("/dev/mem"));
  TRY("open /dev/kmsg", look("/dev/kmsg"));
  TRY("iopl", syscall(SYS_iopl, 3));
  TRY("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
  // The kernel's files.
  TRY("read kcore", look("/proc/kcore"));
  TRY("read keys", look("/proc/keys"));
  TRY("read timer_list", look("/proc/timer_list"));
  TRY("read sched_debug", look("/proc/sched_debug"));
  TRY("read interrupts", look("/proc/interrupts"));
  TRY("list scsi", look("/proc/scsi/scsi"));
  TRY("list firmware", look("/sys/firmware/acpi/tables/DSDT"));
  TRY("read efi", look("/sys/firmware/efi/systab"));
  TRY("read kmsg", look("/proc/kmsg"));
  TRY("read powercap", look("/sys/devices/virtual/powercap/intel-rapl/uevent"));
  TRY("write sysrq-trigger", may_write("/proc/sysrq-trigger"));
  TRY("write core_pattern", may_write("/proc/sys/kernel/core_pattern"));
  TRY("write modprobe", may_write("/proc/sys/kernel/modprobe"));
  TRY("write binfmt_misc", may_write("/proc/sys/fs/binfmt_misc/register"));
  TRY("write panic", may_write("/proc/sys/kernel/panic"));
  TRY("write hostname", may_write("/proc/sys/kernel/hostname"));
  TRY("write ip_forward", may_write("/proc/sys/net/ipv4/ip_forward"));
  TRY("write irq", may_write("/proc/irq/default_smp_affinity"));
  TRY("write uevent_helper", may_write("/sys/kernel/uevent_helper"));
  TRY("write vmcoreinfo", may_write("/sys/kernel/vmcoreinfo"));
  TRY("write mm thp", may_write("/sys/kernel/mm/transparent_hugepage/enabled"));
  TRY("write oom_score_adj below", survive());
  // Cgroups.
  TRY("cgroup release_agent", own_cgroup("release_agent", 0));
  TRY("cgroup procs", own_cgroup("cgroup.procs", 0));
  TRY("cgroup limit v1", own_cgroup("memory.limit_in_bytes", 0));
  TRY("cgroup limit v2", own_cgroup("memory.max", 0));
  TRY("cgroup new", own_cgroup("probe", 1));
  // Keys, programs in the kernel, modules, other kernels.
  TRY("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, -2));
  TRY("request_key", syscall(SYS_request_key, "user", "probe", "", 0));
  TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0));
  TRY("bpf", make_map());
  TRY("perf_event_open", count_events());
  TRY("init_module", syscall(SYS_init_module, "", 0, ""));
  TRY("finit_module", syscall(SYS_finit_module, -1, "", 0));
  TRY("delete_module", syscall(SYS_delete_module, "probe", O_NONBLOCK));
  TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0xffff));
  TRY("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, "", 0));
  TRY("open_by_handle_at", by_handle());
  TRY("name_to_handle_at", remember("/"));
  TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
  TRY("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
  TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
  TRY("quotactl", syscall(SYS_quotactl, 0, "", 0, 0));
  TRY("lookup_dcookie", syscall(SYS_lookup_dcookie, 0, "", 0));
  TRY("move_pages", syscall(SYS_move_pages, 1, 0, 0, 0, 0, 0));
  TRY("mbind", syscall(SYS_mbind, 0, 0, 0, 0, 0, 0));
  TRY("set_mempolicy", syscall(SYS_set_mempolicy, 0, 0, 0));
  // The whole machine.
  TRY("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
  TRY("swapon", swapon("/nonexistent", 0));
  TRY("swapoff", swapoff("/nonexistent"));
  TRY("acct", acct(NULL));
  TRY("syslog", syscall(SYS_syslog, 10, NULL, 0));
  TRY("settimeofday", set_day());
  TRY("clock_settime", set_clock());
  TRY("sethostname", sethostname("x", 1));
  TRY("setdomainname", setdomainname("x", 1));
  TRY("vhangup", vhangup());
  TRY("personality no random", personality(ADDR_NO_RANDOMIZE));
  TRY("personality linux32", personality(PER_LINUX32));
  TRY("nice below", setpriority(PRIO_PROCESS, 0, -5));
  TRY("raise limit", raise_limit());
  TRY("chroot", chroot("/tmp"));
  TRY("setuid", setuid(1000));
  TRY("capability in", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
  // Sockets.
  TRY("socket raw", socket(AF_INET, SOCK_RAW, 1));
  TRY("socket packet", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("socket vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  TRY("socket alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
  TRY("socket inet", socket(AF_INET, SOCK_STREAM, 0));
  return 0;
}
