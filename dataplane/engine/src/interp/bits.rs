//! Bit fields.

/// The unsigned bit field of `bits` (1 to 64) bits that starts `bit` bits behind byte `offset`, counted from the most
/// significant bit; `little` swaps the bytes of a field of whole bytes. Nothing when it touches a byte outside `data`.
#[inline]
pub(super) fn load(data: &[u8], offset: u64, bit: u32, bits: u32, little: bool) -> Option<u64> {
    let first = offset.checked_add(u64::from(bit / 8))?;
    let shift = bit % 8;
    let bytes_len = (shift + bits).div_ceil(8);
    let start = usize::try_from(first).ok()?;
    let field = data.get(start..start.checked_add(bytes_len as usize)?)?;
    // At most 7 + 64 bits: nine bytes, which 128 bits hold.
    let wide = field.iter().fold(0u128, |acc, &byte| acc << 8 | u128::from(byte));
    let unused = bytes_len * 8 - shift - bits;
    let value = (wide >> unused) as u64 & mask(bits);
    Some(if little && bits.is_multiple_of(8) { value.swap_bytes() >> (64 - bits) } else { value })
}

/// The low `bits` bits set.
fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_any_place_and_width() {
        let data = [0x45, 0x1c, 0x00, 0x54, 0xff, 0xfe, 0x01, 0x02, 0x03];
        assert_eq!(load(&data, 0, 0, 4, false), Some(4));
        assert_eq!(load(&data, 0, 4, 4, false), Some(5));
        assert_eq!(load(&data, 1, 3, 3, false), Some(7));
        assert_eq!(load(&data, 2, 0, 16, false), Some(0x54));
        assert_eq!(load(&data, 2, 0, 16, true), Some(0x5400));
        assert_eq!(load(&data, 0, 16, 16, false), Some(0x54));
        assert_eq!(load(&data, 0, 0, 64, false), Some(0x451c_0054_fffe_0102));
        assert_eq!(load(&data, 0, 4, 64, false), Some(0x51c0_054f_ffe0_1020));
        assert_eq!(load(&data, 0, 7, 64, false), Some(0x8e00_2a7f_ff00_8101));
        assert_eq!(load(&data, 0, 0, 64, true), Some(0x0201_feff_5400_1c45));
    }

    #[test]
    fn nothing_outside_the_bytes() {
        let data = [1, 2];
        assert_eq!(load(&data, 1, 0, 8, false), Some(2));
        assert_eq!(load(&data, 1, 1, 8, false), None);
        assert_eq!(load(&data, 2, 0, 1, false), None);
        assert_eq!(load(&data, u64::MAX, 0, 1, false), None);
        assert_eq!(load(&data, u64::MAX, 8, 1, false), None);
        assert_eq!(load(&data, u64::MAX - 1, 0, 64, false), None);
        assert_eq!(load(&[], 0, 0, 1, false), None);
    }
}
