//! MD5, as Pacemaker's `op-digest` and CIB digests use it: to notice a difference, not to keep an attacker out.

use crate::condition::compare_versions;
use crate::tree::Element;

impl Element {
    /// Digest of this tree as it is written: equal trees have equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        md5_hex(self.to_xml().as_bytes())
    }
}

/// Digest that peers compare documents by (`cibadmin --md5-sum-versioned`): of the text on one line, without what says who changed it
/// last. The feature set says how it is made; before 3.0.5 it was the older form.
#[must_use]
pub fn versioned(root: &Element, feature_set: Option<&str>) -> String {
    let mut text = String::new();
    if feature_set.is_none_or(|set| compare_versions(set, "3.0.5").is_lt()) {
        let mut filtered = root.clone();
        sort(&mut filtered);
        text.push(' ');
        one_line(&filtered, true, &mut text);
        text.push('\n');
    } else {
        one_line(root, true, &mut text);
    }
    md5_hex(text.as_bytes())
}

/// Digest of a document as it lies in a file (`cibadmin --md5-sum`).
#[must_use]
pub fn on_disk(root: &Element) -> String {
    let mut text = String::from(" ");
    one_line(root, false, &mut text);
    text.push('\n');
    md5_hex(text.as_bytes())
}

/// What says who changed a document, and when.
const TRACES: [&str; 5] = ["origin", "cib-last-written", "update-origin", "update-client", "update-user"];

fn one_line(element: &Element, filtered: bool, out: &mut String) {
    out.push('<');
    out.push_str(&element.name);
    for (name, value) in element.attributes.iter().filter(|(name, _)| !filtered || !TRACES.contains(name)) {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        peer_escape(value, out);
        out.push('"');
    }
    if element.children.is_empty() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    element.children.iter().for_each(|child| one_line(child, filtered, out));
    out.push_str("</");
    out.push_str(&element.name);
    out.push('>');
}

/// As the peer escapes a value: from the first character on that is not ASCII it does not.
fn peer_escape(value: &str, out: &mut String) {
    for (at, c) in value.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' => out.push_str("    "),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii() => out.push(c),
            _ => return out.push_str(&value[at..]),
        }
    }
}

fn sort(element: &mut Element) {
    let mut pairs: Vec<(String, String)> =
        element.attributes.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    pairs.sort_unstable();
    element.attributes = pairs.into_iter().collect();
    element.children.iter_mut().for_each(sort);
}

/// MD5 (RFC 1321) in hexadecimal.
#[must_use]
pub fn md5_hex(data: &[u8]) -> String {
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut blocks = data.chunks_exact(64);
    for block in &mut blocks {
        mix(&mut state, block);
    }
    let rest = blocks.remainder();
    let mut tail = [0u8; 128];
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()] = 0x80;
    let padded = if rest.len() < 56 { 64 } else { 128 };
    tail[padded - 8..padded].copy_from_slice(&(data.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in tail[..padded].chunks_exact(64) {
        mix(&mut state, block);
    }
    state.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

fn mix(state: &mut [u32; 4], block: &[u8]) {
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let [mut a, mut b, mut c, mut d] = *state;
    for i in 0..64 {
        let (f, g) = match i / 16 {
            0 => ((b & c) | (!b & d), i),
            1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
            2 => (b ^ c ^ d, (3 * i + 5) % 16),
            _ => (c ^ (b | !d), (7 * i) % 16),
        };
        let rotated = a
            .wrapping_add(f)
            .wrapping_add(SINES[i])
            .wrapping_add(words[g])
            .rotate_left(SHIFTS[i / 16][i % 4]);
        (a, d, c, b) = (d, c, b, b.wrapping_add(rotated));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_gives_the_digests_of_rfc_1321() {
        for (text, want) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(md5_hex(text.as_bytes()), want, "{text}");
        }
    }
}
