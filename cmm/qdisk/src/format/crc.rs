//! CRC-32 as in zlib: finds every flip of one bit, and every burst of up to 32.

/// Checksum of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !run(!0, bytes)
}

/// Checksum of `bytes` with the four bytes at `at` taken as 0.
#[must_use]
pub(crate) fn crc32_without(bytes: &[u8], at: usize) -> u32 {
    let rest = bytes.get(at + 4..).unwrap_or_default();
    !run(run(run(!0, bytes.get(..at).unwrap_or(bytes)), &[0; 4]), rest)
}

fn run(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, b| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ b)]
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32/ISO-HDLC");
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32_without(b"123456789", 2), crc32(b"12\x00\x00\x00\x00789"));
    }
}
