//! OCI's list of system calls → a filter in the kernel, by libseccomp. The runtimes of every
//! distribution use the same library, so it is there, and loaded only by the few processes that need
//! it: a shim stays small.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use serde_json::Value;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// A filter that has been made and not been put in force yet.
pub(super) struct Filter {
    context: *mut c_void,
    load: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// `struct scmp_arg_cmp`.
#[repr(C)]
struct Comparison {
    argument: c_uint,
    operator: c_int,
    a: u64,
    b: u64,
}

impl Filter {
    /// Makes it from the bundle's `linux.seccomp` (OCI runtime-spec, config-linux.md).
    pub(super) fn compile(seccomp: &Value) -> Result<Self, String> {
        let library = Library::open()?;
        // SAFETY: the types are those of seccomp.h, which has not changed since version 2.0.
        let (init, resolve, add, load) = unsafe {
            (
                library.function::<unsafe extern "C" fn(u32) -> *mut c_void>(c"seccomp_init")?,
                library.function::<unsafe extern "C" fn(*const c_char) -> c_int>(
                    c"seccomp_syscall_resolve_name",
                )?,
                library.function::<AddRule>(c"seccomp_rule_add_array")?,
                library.function::<unsafe extern "C" fn(*mut c_void) -> c_int>(c"seccomp_load")?,
            )
        };
        let default = action(&seccomp["defaultAction"], &seccomp["defaultErrnoRet"])?;
        // SAFETY: as above.
        let context = unsafe { init(default) };
        if context.is_null() {
            return Err("libseccomp cannot make a filter".into());
        }
        for rule in seccomp["syscalls"].as_array().into_iter().flatten() {
            let action = action(&rule["action"], &rule["errnoRet"])?;
            let comparisons: Vec<Comparison> =
                rule["args"].as_array().into_iter().flatten().map(comparison).collect::<Result<_, _>>()?;
            for name in rule["names"].as_array().into_iter().flatten() {
                let name = name
                    .as_str()
                    .and_then(|name| CString::new(name).ok())
                    .ok_or("an odd name in the list")?;
                // SAFETY: a NUL-terminated name; a live context; an array of the given length.
                let added = unsafe {
                    let number = resolve(name.as_ptr());
                    // Unknown to this library or this machine: then it is refused by default.
                    if number < 0 {
                        continue;
                    }
                    add(context, action, number, comparisons.len() as c_uint, comparisons.as_ptr())
                };
                if added < 0 {
                    return Err(format!("libseccomp refuses the rule for {name:?} ({added})"));
                }
            }
        }
        Ok(Self { context, load })
    }

    /// Puts it in force for this process and what it becomes.
    pub(super) fn load(&self) -> Result<(), String> {
        // SAFETY: the context is live; it is never freed, because the process ends or becomes another.
        let done = unsafe { (self.load)(self.context) };
        if done < 0 {
            Err(format!("the filter of system calls cannot be put in force ({done})"))
        } else {
            Ok(())
        }
    }
}

type AddRule = unsafe extern "C" fn(*mut c_void, u32, c_int, c_uint, *const Comparison) -> c_int;

fn action(name: &Value, errno: &Value) -> Result<u32, String> {
    match name.as_str() {
        Some("SCMP_ACT_ALLOW") => Ok(ALLOW),
        Some("SCMP_ACT_ERRNO") => Ok(ERRNO | errno.as_u64().unwrap_or(1) as u32 & 0xffff),
        _ => Err(format!("unknown action {name}")),
    }
}

fn comparison(argument: &Value) -> Result<Comparison, String> {
    let operator = match argument["op"].as_str() {
        Some("SCMP_CMP_LT") => 2,
        Some("SCMP_CMP_EQ") => 4,
        Some("SCMP_CMP_MASKED_EQ") => 7,
        _ => return Err(format!("unknown comparison {argument}")),
    };
    let number = |name: &str| argument[name].as_u64().unwrap_or(0);
    Ok(Comparison {
        argument: number("index") as c_uint,
        operator,
        a: number("value"),
        b: number("valueTwo"),
    })
}

/// The library, open until the process ends.
struct Library(*mut c_void);

impl Library {
    fn open() -> Result<Self, String> {
        // SAFETY: a NUL-terminated name; the library's constructors do nothing surprising.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() { Err("libseccomp.so.2 is not installed".into()) } else { Ok(Self(handle)) }
    }

    /// # Safety
    /// `T` must be the type of the function of that name.
    unsafe fn function<T: Copy>(&self, name: &CStr) -> Result<T, String> {
        // SAFETY: a live handle and a NUL-terminated name.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            return Err(format!("libseccomp has no {name:?}"));
        }
        assert_eq!(size_of::<T>(), size_of::<*mut c_void>(), "a function is a pointer");
        // SAFETY: the caller vouches for the type; the sizes are equal.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}
