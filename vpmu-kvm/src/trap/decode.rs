// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Is it RDPMC, and how long?

/// The longest x86 instruction (Intel SDM vol. 2A, 2.3.11).
pub(crate) const MAX_LEN: usize = 15;

/// The length of the RDPMC instruction (`0F 33`, prefixes allowed) that `bytes` start with.
///
/// LOCK makes it undefined, so it could not have raised #GP. REX counts in 64-bit code only, where
/// it must be the last prefix to be one; one followed by a legacy prefix is skipped by the CPU.
/// Both orders decode as RDPMC, so neither is told apart here.
pub(crate) fn rdpmc_len(bytes: &[u8], long_mode: bool) -> Option<u8> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            // Operand size, address size, REPNE, REP, segment overrides: no meaning for RDPMC.
            0x66 | 0x67 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
            0x40..=0x4f if long_mode => {}
            0x0f => break,
            _ => return None,
        }
        at += 1;
    }
    let len = at + 2;
    (bytes.get(at + 1) == Some(&0x33) && len <= MAX_LEN).then(|| u8::try_from(len).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_rdpmc_behind_prefixes() {
        for (bytes, long, len) in [
            (&[0x0f, 0x33, 0x90][..], true, Some(2)),
            (&[0x66, 0x0f, 0x33], true, Some(3)),
            (&[0x48, 0x0f, 0x33], true, Some(3)),
            (&[0x2e, 0x66, 0xf3, 0x4f, 0x0f, 0x33], true, Some(6)),
            // The same byte is DEC EAX outside 64-bit mode.
            (&[0x48, 0x0f, 0x33], false, None),
            (&[0xf0, 0x0f, 0x33], true, None),
            (&[0x0f, 0x32], true, None),
            (&[0xf4], true, None),
            (&[0x0f], true, None),
            (&[0x66], true, None),
            (&[], true, None),
        ] {
            assert_eq!(rdpmc_len(bytes, long), len, "{bytes:02x?} long={long}");
        }
    }

    #[test]
    fn an_instruction_has_at_most_fifteen_bytes() {
        let mut bytes = [0x66; 17];
        (bytes[13], bytes[14]) = (0x0f, 0x33);
        assert_eq!(rdpmc_len(&bytes, true), Some(15));
        let mut bytes = [0x66; 17];
        (bytes[14], bytes[15]) = (0x0f, 0x33);
        assert_eq!(rdpmc_len(&bytes, true), None);
    }
}
