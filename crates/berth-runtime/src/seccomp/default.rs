//! Docker's default profile, as of moby's profiles in 2026: what is allowed always, under conditions, and with a
//! capability. Anything else is "operation not permitted".

use super::profile::{Action, Condition, Operator, Profile, Rule};
use super::table::Family;
use oci_spec::runtime::{Capabilities, Capability};

/// Allowed in every container, whatever its capabilities.
const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get
    ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
    lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
    mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
    pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6
    pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
    signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice
    wait4 waitid waitpid write writev
";

/// Allowed on some machines only, because only they have them or need them.
const ON_X86: &str = "arch_prctl modify_ldt";
const ON_ARM: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// Allowed with a capability.
const WITH: &[(Capability, &str)] = &[
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module init_module finit_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    (Capability::SysRawio, "iopl ioperm"),
    (Capability::SysTime, "settimeofday stime clock_settime clock_settime64"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// The flags of clone that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// The personalities that change nothing dangerous: Linux, Linux with 32-bit uname, both without randomisation
/// changes, and the question "which is it?".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The families of sockets beyond the first dozen (up to AF_KEY's neighbours) that are allowed. Not among them:
/// AF_ALG (38), the kernel's crypto, and AF_VSOCK (40), which leads out of a virtual machine.
const SOCKET_FAMILIES_BELOW: u64 = 12;
const SOCKET_FAMILIES: [u64; 25] =
    [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// The profile for a container with these capabilities in its bounding set.
pub(super) fn profile(capabilities: &Capabilities, family: Family) -> Profile<'static> {
    let machine = match family {
        Family::X86 => ON_X86,
        Family::Arm => ON_ARM,
    };
    let mut rules: Vec<_> = allowed(ALWAYS).chain(allowed(machine)).collect();
    for (capability, names) in WITH {
        if capabilities.contains(capability) {
            rules.extend(allowed(names));
        }
    }
    rules.extend(sockets());
    rules.extend(PERSONALITIES.map(|value| when("personality", Operator::Equal, value)));
    if !capabilities.contains(&Capability::SysAdmin) {
        rules.push(when("clone", Operator::MaskedEqual(CLONE_NAMESPACES), 0));
        // Its flags are in memory, where a filter cannot look; "not implemented" makes libc use clone instead.
        rules.push(Rule { name: "clone3", action: Action::errno(libc::ENOSYS), conditions: Vec::new() });
    }
    Profile { default: Action::errno(libc::EPERM), architectures: family.architectures().to_vec(), rules }
}

fn sockets() -> impl Iterator<Item = Rule<'static>> {
    let low = when("socket", Operator::Less, SOCKET_FAMILIES_BELOW);
    SOCKET_FAMILIES.into_iter().map(|family| when("socket", Operator::Equal, family)).chain([low])
}

fn allowed(names: &'static str) -> impl Iterator<Item = Rule<'static>> {
    names.split_whitespace().map(|name| Rule { name, action: Action::ALLOW, conditions: Vec::new() })
}

/// Allowed when the first argument is so.
fn when(name: &'static str, operator: Operator, value: u64) -> Rule<'static> {
    Rule { name, action: Action::ALLOW, conditions: vec![Condition { argument: 0, operator, value }] }
}

#[cfg(test)]
mod tests {
    use super::super::bpf;
    use super::super::table::Arch;
    use super::*;

    fn check(family: Family, capabilities: &[Capability], rows: &[(Arch, &str, &[u64], Action)]) {
        let program = bpf::generate(&profile(&capabilities.iter().copied().collect(), family), family);
        assert!(
            program.len() < 4096,
            "the kernel accepts at most 4096 instructions, these are {}",
            program.len()
        );
        for (arch, name, arguments, expected) in rows {
            let number = arch.number(name).unwrap();
            let got = bpf::tests::run(&program, arch.token(), number, arguments);
            assert_eq!(got, expected.0, "{arch:?} {name} {arguments:?}");
        }
    }

    const NO: Action = Action::errno(libc::EPERM);
    const ENOSYS: Action = Action::errno(libc::ENOSYS);
    const YES: Action = Action::ALLOW;

    #[test]
    fn a_container_without_capabilities_on_every_architecture() {
        let thread = 0x3d0f00;
        let userns = 0x1000_0000;
        for (family, arches) in [
            (Family::X86, &[Arch::X86_64, Arch::I386, Arch::X32][..]),
            (Family::Arm, &[Arch::Aarch64, Arch::Arm]),
        ] {
            for arch in arches {
                check(
                    family,
                    &[],
                    &[
                        (*arch, "read", &[], YES),
                        (*arch, "execve", &[], YES),
                        (*arch, "mseal", &[], YES),
                        (*arch, "mount", &[], NO),
                        (*arch, "umount2", &[], NO),
                        (*arch, "unshare", &[], NO),
                        (*arch, "setns", &[], NO),
                        (*arch, "bpf", &[], NO),
                        (*arch, "keyctl", &[], NO),
                        (*arch, "add_key", &[], NO),
                        (*arch, "reboot", &[], NO),
                        (*arch, "init_module", &[], NO),
                        (*arch, "finit_module", &[], NO),
                        (*arch, "io_uring_setup", &[], NO),
                        (*arch, "userfaultfd", &[], NO),
                        (*arch, "open_by_handle_at", &[], NO),
                        (*arch, "clone", &[thread], YES),
                        (*arch, "clone", &[userns], NO),
                        (*arch, "clone3", &[], ENOSYS),
                        (*arch, "socket", &[2], YES),
                        (*arch, "socket", &[16], YES),
                        (*arch, "socket", &[38], NO),
                        (*arch, "socket", &[40], NO),
                        (*arch, "personality", &[8], YES),
                        (*arch, "personality", &[0x40_0000], NO),
                        // Newer than the profile; x32 alone has calls of its own above it.
                        (*arch, "file_setattr", &[], if *arch == Arch::X32 { NO } else { ENOSYS }),
                    ],
                );
            }
        }
    }

    #[test]
    fn the_specification_says_the_same() {
        for capabilities in [Capabilities::new(), [Capability::SysAdmin, Capability::SysChroot].into()] {
            let ours = profile(&capabilities, Family::X86);
            let spec = ours.to_spec().unwrap();
            let again = Profile::from_spec(&spec, Family::X86).unwrap();
            assert_eq!(bpf::generate(&again, Family::X86), bpf::generate(&ours, Family::X86));
        }
    }

    #[test]
    fn capabilities_open_their_groups() {
        let native = Arch::X86_64;
        check(
            Family::X86,
            &[Capability::SysAdmin],
            &[
                (native, "mount", &[], YES),
                (native, "clone", &[0x1000_0000], YES),
                (native, "clone3", &[], YES),
                (native, "reboot", &[], NO),
            ],
        );
        check(
            Family::X86,
            &[Capability::SysChroot],
            &[(native, "chroot", &[], YES), (native, "mount", &[], NO)],
        );
    }

    #[test]
    fn a_foreign_architecture_is_killed() {
        let program = bpf::generate(&profile(&Capabilities::new(), Family::X86), Family::X86);
        assert_eq!(bpf::tests::run(&program, Arch::Aarch64.token(), 0, &[]), Action::KILL.0);
    }
}
