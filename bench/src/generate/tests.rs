use super::*;

fn bytes_of(spec: &Spec) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = generate(spec, &mut bytes).expect("a vector takes all");
    assert_eq!(written.bytes, bytes.len() as u64);
    bytes
}

fn small(profile: Profile) -> Spec {
    Spec {
        profile,
        amount: Amount::Packets(2000),
        flows: 500,
        vlan: 0.2,
        ipv6: 0.3,
        tunnel: 0.2,
        burst: 3,
        checksums: true,
        ..Spec::default()
    }
}

#[test]
fn a_seed_decides_every_byte() {
    for profile in [Profile::Imix, Profile::Attack, Profile::Flows] {
        let spec = small(profile);
        let bytes = bytes_of(&spec);
        assert!(bytes == bytes_of(&spec), "{profile:?} differs from itself");
        assert!(bytes != bytes_of(&Spec { seed: 2, ..spec }), "{profile:?} ignores its seed");
    }
}

/// A change of the generator changes traces that are compared over time: it needs a new `VERSION`.
#[test]
fn the_bytes_of_this_version() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let hashes =
        [Profile::Imix, Profile::Attack, Profile::Flows].map(|p| fnv(&bytes_of(&small(p))));
    assert_eq!(
        hashes.map(|h| format!("{h:016x}")),
        ["3e3ed6c79fe4a4c8", "2451bb19537aec09", "dfe22b53e2717953"]
    );
}

#[test]
fn amounts_in_bytes_end_with_the_packet_that_reaches_them() {
    let spec = Spec { amount: Amount::Bytes(100_000), ..small(Profile::Imix) };
    let len = bytes_of(&spec).len();
    assert!((100_000..100_000 + FRAME_MAX + RECORD_HEADER_LEN).contains(&len), "{len}");
}

#[test]
fn specifications_have_their_own_hash() {
    let base = Spec::default();
    let others = [
        Spec { seed: 2, ..base },
        Spec { zipf: 1.1, ..base },
        Spec { amount: Amount::Bytes(1_000_000), ..base },
        Spec { checksums: true, ..base },
    ];
    assert!(others.iter().all(|o| o.hash() != base.hash()));
}
