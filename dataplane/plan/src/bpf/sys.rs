//! libpcap's compiler of filters: the C functions that it takes, from the shared library. It is loaded when the first filter is compiled, as it brings
//! nine more libraries, which every start would wait for.
#![expect(unsafe_code, reason = "C functions of a library that is loaded while the program runs")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::slice;
use std::sync::OnceLock;

use libloading::Library;

/// The library by the names that distributions give it.
const NAMES: [&str; 3] = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];
/// Bytes of a packet that a filter may look at.
const SNAPLEN: c_int = 65_535;

/// `pcap_t`.
#[repr(C)]
struct Handle {
    _opaque: [u8; 0],
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `struct bpf_program`.
#[repr(C)]
struct Code {
    len: u32,
    instructions: *mut Instruction,
}

/// What is called of it.
struct Libpcap {
    open_dead: unsafe extern "C" fn(c_int, c_int) -> *mut Handle,
    compile: unsafe extern "C" fn(*mut Handle, *mut Code, *const c_char, c_int, u32) -> c_int,
    error: unsafe extern "C" fn(*mut Handle) -> *const c_char,
    free_code: unsafe extern "C" fn(*mut Code),
    close: unsafe extern "C" fn(*mut Handle),
    /// Keeps the functions where they are.
    _library: Library,
}

impl Libpcap {
    fn get() -> Result<&'static Self, String> {
        static LOADED: OnceLock<Result<Libpcap, String>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, String> {
        let mut why = String::new();
        for name in NAMES {
            // SAFETY: what the library runs when it is loaded has no conditions; nor have the destructors, which never run, as it stays loaded.
            match unsafe { Library::new(name) } {
                Ok(library) => return Self::of(library).map_err(|error| error.to_string()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(format!(
            "tcpdump filters need libpcap: install the package libpcap0.8 or libpcap ({why})"
        ))
    }

    fn of(library: Library) -> Result<Self, libloading::Error> {
        // SAFETY: these are the functions of pcap(3PCAP), with the types that its manual gives them since libpcap 0.4; they are called only while the
        // library is there.
        unsafe {
            Ok(Self {
                open_dead: *library.get(b"pcap_open_dead\0")?,
                compile: *library.get(b"pcap_compile\0")?,
                error: *library.get(b"pcap_geterr\0")?,
                free_code: *library.get(b"pcap_freecode\0")?,
                close: *library.get(b"pcap_close\0")?,
                _library: library,
            })
        }
    }
}

/// The optimised instructions of a filter for a link type, as libpcap numbers it: code, jump when true, jump when false, constant.
///
/// # Errors
/// libpcap's message, or why there is no libpcap.
pub(super) fn compile(text: &str, dlt: i32) -> Result<Vec<[u32; 4]>, String> {
    let text = CString::new(text).map_err(|_| "the filter has a NUL character".to_owned())?;
    let libpcap = Libpcap::get()?;
    // SAFETY: it takes any numbers.
    let handle = NonNull::new(unsafe { (libpcap.open_dead)(dlt, SNAPLEN) });
    let handle = handle.ok_or("libpcap has no memory")?.as_ptr();
    let mut code = Code { len: 0, instructions: std::ptr::null_mut() };
    // SAFETY: the handle is open, the text ends with a zero byte, and the code is written before it is read.
    let compiled = unsafe { (libpcap.compile)(handle, &raw mut code, text.as_ptr(), 1, 0) } == 0;
    let answer = if compiled {
        // SAFETY: so many instructions lie there, until they are freed.
        let instructions = unsafe { slice::from_raw_parts(code.instructions, code.len as usize) };
        let fields = |i: &Instruction| [u32::from(i.code), u32::from(i.jt), u32::from(i.jf), i.k];
        let copied = instructions.iter().map(fields).collect();
        // SAFETY: it has been compiled, and is freed once.
        unsafe { (libpcap.free_code)(&raw mut code) };
        Ok(copied)
    } else {
        // SAFETY: the handle is open; the message lies in it and ends with a zero byte.
        let message = unsafe { CStr::from_ptr((libpcap.error)(handle)) };
        Err(message.to_string_lossy().into_owned())
    };
    // SAFETY: it is open, and not used any more.
    unsafe { (libpcap.close)(handle) };
    answer
}
