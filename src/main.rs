use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    allocator::give_back_large_blocks();
    smtp_gateway::cli::run()
}

/// The allocator of the GNU C library keeps freed blocks of up to 32 MiB for itself, as soon as one
/// of that size has been freed. A process that is allowed 256 MiB then dies of messages that it has
/// sent long ago (ADR 0010).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    use std::ffi::c_int;

    #[expect(
        unsafe_code,
        reason = "a declaration: the function takes two numbers and touches no memory of ours"
    )]
    unsafe extern "C" {
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }

    /// Blocks from this size on are the system's, and go back to it when they are freed. It is what
    /// the library begins with; naming it keeps it there.
    pub(super) fn give_back_large_blocks() {
        mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    }

    /// `malloc.h`
    const M_MMAP_THRESHOLD: c_int = -3;
}
