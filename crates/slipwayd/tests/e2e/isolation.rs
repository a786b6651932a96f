//! What a program can see and reach.

use crate::app::{files, web};
use crate::person::Person;
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![a_program_sees_only_its_own, tenants_cannot_reach_each_other, the_router_refuses_what_it_must]
}

const LOOK: &str = r#"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print("uid", os.getuid(), "caps", status["CapEff"].strip(), status["CapBnd"].strip(), "nnp", status["NoNewPrivs"].strip(), "seccomp", status["Seccomp"].strip())
for name, call in {"unshare": lambda: libc.unshare(0x10000000), "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), "setns": lambda: libc.setns(0, 0), "chroot": lambda: libc.chroot(b"/")}.items():
    print(name, "refused" if call() != 0 else "ALLOWED")
for path in ["/proc/kcore", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/fs/cgroup/release_agent"]:
    try:
        open(path, "w").write("x"); print("WROTE", path)
    except OSError: pass
print("fds", sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2)[1:])
print("processes", len([p for p in os.listdir("/proc") if p.isdigit()]))
try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print("RAW SOCKET")
except OSError: pass
"#;

fn a_program_sees_only_its_own(server: &Server) {
    let person = Person::with_tenant(server, "looker");
    let mut all = web("one");
    all.push(("look.py", LOOK.to_owned()));
    let work = person.project("shop", &files(&all));
    work.push().ok();
    let said = work.slipway(&["run", "-T", "-e", "dev", "--", "python3", "look.py"]).ok();
    let zero = "0000000000000000";
    assert!(said.out.contains(&format!("uid 1000 caps {zero} {zero} nnp 1 seccomp 2")), "{}", said.out);
    for word in ["ALLOWED", "WROTE", "RAW SOCKET"] {
        assert!(!said.out.contains(word), "{}", said.out);
    }
    assert!(said.out.contains("fds []"), "{}", said.out);
}

fn tenants_cannot_reach_each_other(server: &Server) {
    let owner = Person::with_tenant(server, "island-a");
    let theirs = owner.project("shop", &files(&web("theirs")));
    theirs.push().ok();
    let address = "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((\"192.0.2.1\", 9)); print(s.getsockname()[0])'";
    // An address of tenant A: its one-off run's own; its web instance has the one before or so.
    let own = theirs.slipway(&["run", "-T", "-e", "dev", "--", address]).ok().out.trim().to_owned();
    let prefix = own.rsplit_once('.').unwrap().0.to_owned();
    let sweep = format!(
        "import socket\nfrom concurrent.futures import ThreadPoolExecutor\n\
         def t(i):\n    s = socket.socket(); s.settimeout(1.5)\n    try:\n        s.connect((f'{prefix}.{{i}}', 8080)); return i\n    except OSError: return None\n\
         print('reached', [i for i in ThreadPoolExecutor(64).map(t, range(1, 255)) if i])\n"
    );
    let other = Person::with_tenant(server, "island-b");
    let mut all = web("mine");
    all.push(("sweep.py", sweep.clone()));
    let mine = other.project("shop", &files(&all));
    mine.push().ok();
    let reached = mine.slipway(&["run", "-T", "-e", "dev", "--", "python3", "sweep.py"]).ok().out;
    theirs.commit(&[("sweep.py", &sweep)], "Sweep");
    theirs.push().ok();
    let reached_by_owner = theirs.slipway(&["run", "-T", "-e", "dev", "--", "python3", "sweep.py"]).ok().out;
    let set = |text: &str| -> std::collections::BTreeSet<String> {
        let numbers = text.trim().trim_start_matches("reached [").trim_end_matches(']');
        numbers.split(", ").filter(|n| !n.is_empty()).map(str::to_owned).collect()
    };
    let (theirs, mine) = (set(&reached_by_owner), set(&reached));
    assert!(!theirs.is_empty(), "a tenant reaches its own instances");
    assert!(theirs.is_disjoint(&mine), "A reaches {theirs:?}, B reaches {mine:?}");
}

fn the_router_refuses_what_it_must(server: &Server) {
    let unknown = server.get("nobody-has-this").unwrap();
    assert_eq!(unknown.status, 404);
    let port = server.ports.router;
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        let answer = crate::http::send(port, bad).unwrap();
        assert_eq!(answer.status, 400, "{bad:?}");
    }
}
