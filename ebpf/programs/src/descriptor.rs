//! From a descriptor of the running process to the kernel's socket, through the kernel's own tables.

use crate::constants::constant;
use crate::kernel::{field, Task};

const MODE_TYPE: u16 = 0o170000;
const MODE_SOCKET: u16 = 0o140000;

/// The kernel's socket behind a descriptor of the running process. `None` where it is not a socket.
#[inline(always)]
pub fn socket_of(descriptor: u64) -> Option<u64> {
    let files: u64 = Task::current().field(constant!(OFFSETS.task_files))?;
    let table: u64 = field(files, constant!(OFFSETS.files_fdt))?;
    let size: u32 = field(table, constant!(OFFSETS.fdtable_max_fds))?;
    if descriptor >= size as u64 {
        return None;
    }
    let array: u64 = field(table, constant!(OFFSETS.fdtable_fd))?;
    let file: u64 = field(array + descriptor * 8, 0)?;
    let inode: u64 = field(file, constant!(OFFSETS.file_inode))?;
    let mode: u16 = field(inode, constant!(OFFSETS.inode_mode))?;
    if mode & MODE_TYPE != MODE_SOCKET {
        return None;
    }
    let socket: u64 = field(file, constant!(OFFSETS.file_private_data))?;
    field(socket, constant!(OFFSETS.socket_sk))
}
