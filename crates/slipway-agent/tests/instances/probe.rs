//! Runs inside a sandbox and tries to get out. Prints one line for each attempt that was not refused;
//! the last line says that it got to the end.

use std::ffi::CString;
use std::process::ExitCode;

/// A system call that must not work, with arguments that would make it work for root (N75).
const FORBIDDEN: &[(&str, libc::c_long, [libc::c_long; 5])] = &[
    ("mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, [0, 0, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER as libc::c_long, 0, 0, 0, 0]),
    ("setns", libc::SYS_setns, [0, 0, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
    ("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0]),
    ("ptrace", libc::SYS_ptrace, [libc::PTRACE_TRACEME as libc::c_long, 0, 0, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0]),
    ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0]),
    ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
    ("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [0, 0, 0, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0]),
    ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
    ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0]),
    ("delete_module", libc::SYS_delete_module, [0, 0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, [0, 0, 0, 0, 0]),
    ("settimeofday", libc::SYS_settimeofday, [0, 0, 0, 0, 0]),
    ("open_tree", libc::SYS_open_tree, [0, 0, 0, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0]),
    ("mount_setattr", libc::SYS_mount_setattr, [0, 0, 0, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [0, 0, 0, 0, 0]),
    ("acct", libc::SYS_acct, [0, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
    ("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0]),
    ("lookup_dcookie", libc::SYS_lookup_dcookie, [0, 0, 0, 0, 0]),
    ("move_pages", libc::SYS_move_pages, [0, 0, 0, 0, 0]),
    ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]),
];

/// What must not be readable or writable (N76, N77).
const UNREACHABLE: &[(&str, libc::c_int)] = &[
    ("/proc/sysrq-trigger", libc::O_WRONLY),
    ("/proc/sys/kernel/core_pattern", libc::O_WRONLY),
    ("/proc/sys/vm/drop_caches", libc::O_WRONLY),
    ("/sys/kernel", libc::O_RDONLY),
    ("/sys/fs/cgroup", libc::O_RDONLY),
    ("/sys/devices/system/cpu/online", libc::O_WRONLY),
    ("/etc/hosts", libc::O_WRONLY),
    ("/dev/mem", libc::O_RDONLY),
    ("/dev/kmsg", libc::O_RDONLY),
    ("/dev/fuse", libc::O_RDWR),
    ("/dev/loop-control", libc::O_RDWR),
];

/// Families of sockets beyond those that programs of the network need.
const FAMILIES: &[(&str, libc::c_int)] = &[
    ("AF_X25", libc::AF_X25),
    ("AF_KEY", libc::AF_KEY),
    ("AF_PACKET", libc::AF_PACKET),
    ("AF_RDS", libc::AF_RDS),
    ("AF_CAN", libc::AF_CAN),
    ("AF_TIPC", libc::AF_TIPC),
    ("AF_BLUETOOTH", libc::AF_BLUETOOTH),
    ("AF_ALG", libc::AF_ALG),
    ("AF_VSOCK", libc::AF_VSOCK),
    ("AF_XDP", libc::AF_XDP),
];

/// Present, and empty.
const MASKED: &[&str] = &["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];

/// The filter itself must refuse, whether or not this kernel has the family.
fn sockets() {
    // SAFETY: takes integers; the descriptor is ours.
    let errno = |family, protocol| unsafe {
        let descriptor = libc::socket(family, libc::SOCK_DGRAM, protocol);
        if descriptor < 0 {
            return std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        }
        libc::close(descriptor);
        0
    };
    for (name, family) in FAMILIES {
        if errno(*family, 0) != libc::EPERM {
            println!("LET THROUGH {name}");
        }
    }
    if errno(libc::AF_NETLINK, libc::NETLINK_KOBJECT_UEVENT) != libc::EPERM {
        println!("LET THROUGH events of the host's kernel");
    }
    if errno(libc::AF_NETLINK, libc::NETLINK_AUDIT) != libc::EPROTONOSUPPORT {
        println!("LET THROUGH the host's audit");
    }
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_NETLINK] {
        if errno(family, 0) != 0 {
            println!("refused family {family}, which programs need");
        }
    }
}

/// What the kernel has a fixed number of, for all sandboxes and the host together: a sandbox gets some
/// and no more.
fn exhaustible() {
    let count = |what: &str, most: usize, open: &dyn Fn() -> libc::c_int| {
        let mut held = Vec::new();
        while held.len() < 1000 {
            match open() {
                descriptor if descriptor >= 0 => held.push(descriptor),
                _ => break,
            }
        }
        if held.is_empty() || held.len() > most {
            println!("LET THROUGH {} {what}", held.len());
        }
        for descriptor in held {
            // SAFETY: ours, and not used again.
            unsafe { libc::close(descriptor) };
        }
    };
    // SAFETY: a NUL-terminated path, and integers.
    count("terminals", 32, &|| unsafe { libc::open(c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY) });
    // SAFETY: takes an integer.
    count("inotify instances", 16, &|| unsafe { libc::inotify_init1(0) });
}

pub fn run() -> ExitCode {
    for (name, number, [a, b, c, d, e]) in FORBIDDEN {
        // SAFETY: none of these is expected to do anything; with these arguments none touches our memory.
        let done = unsafe { libc::syscall(*number, *a, *b, *c, *d, *e) };
        let error = std::io::Error::last_os_error().raw_os_error();
        let refused = done < 0 && matches!(error, Some(libc::EPERM | libc::ENOSYS));
        if !refused {
            println!("LET THROUGH {name}: {done} {error:?}");
        }
    }
    // SAFETY: as above; the flags ask for namespaces, and the child, if there is one, ends.
    unsafe {
        for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWNET] {
            let child = libc::syscall(libc::SYS_clone, (flag | libc::SIGCHLD) as libc::c_long, 0, 0, 0, 0);
            if child == 0 {
                libc::_exit(0);
            }
            if child > 0 {
                println!("LET THROUGH clone with {flag:#x}");
            }
        }
        if libc::socket(libc::AF_INET, libc::SOCK_RAW, 1) >= 0 {
            println!("LET THROUGH raw socket");
        }
        sockets();
        exhaustible();
        let node = CString::new("/tmp/sda").unwrap();
        if libc::mknod(node.as_ptr(), libc::S_IFBLK | 0o666, libc::makedev(8, 0)) == 0 {
            println!("LET THROUGH mknod of a disk");
        }
        for (path, flags) in UNREACHABLE {
            let name = CString::new(*path).unwrap();
            if libc::open(name.as_ptr(), *flags) >= 0 {
                println!("LET THROUGH open of {path}");
            }
        }
        // Descriptors beyond the three would be of the host (N78).
        for descriptor in 3..1024 {
            if libc::fcntl(descriptor, libc::F_GETFD) >= 0 {
                let target = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
                println!("LET THROUGH descriptor {descriptor}: {}", target.display());
            }
        }
    }
    for path in MASKED {
        if std::fs::read(path).is_ok_and(|content| !content.is_empty()) {
            println!("LET THROUGH read of {path}");
        }
    }
    println!("probed");
    ExitCode::SUCCESS
}
