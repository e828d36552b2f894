// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables of the PVH boot protocol (Xen, `public/arch-x86/hvm/start_info.h`).

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{self, BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress};

use crate::memory::{self, GuestRam, KERNEL_START};

const START_INFO: u32 = 0x6000;
const MEMORY_MAP: u64 = 0x7000;
const CMDLINE: u64 = 0x2_0000;
/// With its terminating zero.
const CMDLINE_MAX: usize = 0x1_0000;
/// From here to the first megabyte a PC has no RAM.
const LOW_RAM_END: u64 = 0x9_fc00;

/// Why the tables could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PvhError {
    /// The kernel command line is too long.
    #[error("The kernel command line has {len} bytes: at most {} are possible", CMDLINE_MAX - 1)]
    CmdlineTooLong {
        /// Its length.
        len: usize,
    },
    /// The kernel command line has a zero byte in it.
    #[error("The kernel command line has a zero byte in it: take it out")]
    CmdlineZero,
    /// Guest memory refused the command line.
    #[error("Cannot write the kernel command line")]
    WriteCmdline(#[source] vm_memory::GuestMemoryError),
    /// Guest memory refused the tables.
    #[error("Cannot write the PVH start info")]
    Write(#[source] configurator::Error),
}

/// Writes command line, memory map and start info; gives the address of the latter.
pub(crate) fn write_tables(ram: &GuestRam, cmdline: &str) -> Result<u32, PvhError> {
    if cmdline.len() >= CMDLINE_MAX {
        return Err(PvhError::CmdlineTooLong { len: cmdline.len() });
    }
    if cmdline.contains('\0') {
        return Err(PvhError::CmdlineZero);
    }
    let mut text = cmdline.as_bytes().to_vec();
    text.push(0);
    ram.mmap()
        .write_slice(&text, GuestAddress(CMDLINE))
        .map_err(PvhError::WriteCmdline)?;

    let map = memory_map(ram.size());
    let start_info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: CMDLINE,
        memmap_paddr: MEMORY_MAP,
        // A handful.
        memmap_entries: u32::try_from(map.len()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let mut params =
        BootParams::new::<hvm_start_info>(&start_info, GuestAddress(u64::from(START_INFO)));
    params.set_sections::<hvm_memmap_table_entry>(&map, GuestAddress(MEMORY_MAP));
    PvhBootConfigurator::write_bootparams(&params, ram.mmap()).map_err(PvhError::Write)?;
    Ok(START_INFO)
}

fn memory_map(size: u64) -> Vec<hvm_memmap_table_entry> {
    let ram = |addr, size| hvm_memmap_table_entry {
        addr,
        size,
        type_: XEN_HVM_MEMMAP_TYPE_RAM,
        reserved: 0,
    };
    let mut map = vec![ram(0, LOW_RAM_END)];
    for (start, len) in memory::ranges(size) {
        let from = start.max(KERNEL_START);
        map.push(ram(from, start + len - from));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_info_leads_to_the_command_line_and_the_map() {
        let ram = GuestRam::new(memory::MIN).unwrap();
        let at = write_tables(&ram, "answer=42").unwrap();
        let info: hvm_start_info = ram.mmap().read_obj(GuestAddress(u64::from(at))).unwrap();
        assert_eq!(
            (info.magic, info.version, info.memmap_entries),
            (0x336e_c578, 1, 2)
        );
        let mut text = [0xff; 10];
        ram.mmap()
            .read_slice(&mut text, GuestAddress(info.cmdline_paddr))
            .unwrap();
        assert_eq!(&text, b"answer=42\0");
        let second: hvm_memmap_table_entry = ram
            .mmap()
            .read_obj(GuestAddress(info.memmap_paddr + 24))
            .unwrap();
        assert_eq!(
            (second.addr, second.size, second.type_),
            (1 << 20, 1 << 20, 1)
        );
    }

    #[test]
    fn the_map_has_the_hole() {
        let map: Vec<_> = memory_map(4 << 30)
            .iter()
            .map(|entry| (entry.addr, entry.size))
            .collect();
        assert_eq!(
            map,
            [
                (0, LOW_RAM_END),
                (1 << 20, (3 << 30) - (1 << 20)),
                (4 << 30, 1 << 30)
            ]
        );
    }

    #[test]
    fn a_bad_command_line_is_refused() {
        let ram = GuestRam::new(memory::MIN).unwrap();
        assert!(write_tables(&ram, &"x".repeat(0xffff)).is_ok());
        let long = write_tables(&ram, &"x".repeat(0x1_0000));
        assert!(matches!(
            long,
            Err(PvhError::CmdlineTooLong { len: 0x1_0000 })
        ));
        assert!(matches!(
            write_tables(&ram, "a\0b"),
            Err(PvhError::CmdlineZero)
        ));
    }
}
