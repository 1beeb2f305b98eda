//! Capture formats: any bytes end in records and then the end or one damage; records that are written read back.

use std::io::Cursor;

use wt_wire::{ByteOrder, CaptureReader, PcapVariant, PcapWriter};

/// Records looked at: compressed input may hold many more.
const RECORDS_MAX: u64 = 20_000;

pub(super) fn run(data: &[u8]) -> bool {
    let reader = match CaptureReader::from_reader("input", Cursor::new(data.to_vec())) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.hint().ends_with(['.', '?']));
            return false;
        }
    };
    let mut reader = reader;
    let mut records = 0;
    let mut offset = 0;
    let mut writer = None;
    let mut written = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                assert!(records == 0 || record.offset > offset, "records move on");
                offset = record.offset;
                records += 1;
                if written.len() < 16 {
                    let writer = writer.get_or_insert_with(|| {
                        PcapWriter::new(
                            Vec::new(),
                            PcapVariant::Nano,
                            ByteOrder::Big,
                            record.link_type,
                            u32::MAX,
                        )
                    });
                    if let Ok(writer) = writer
                        && writer.write(record.timestamp_ns, record.len, record.data).is_ok()
                    {
                        written.push((record.timestamp_ns, record.len, record.data.to_vec()));
                    }
                }
            }
            Ok(None) => {
                assert!(reader.damage().is_none());
                break;
            }
            Err(error) => {
                assert_eq!(error.damage(), reader.damage());
                assert!(!error.to_string().is_empty());
                break;
            }
        }
        if records >= RECORDS_MAX {
            return true;
        }
    }
    assert!(matches!(reader.next(), Ok(None)), "nothing follows the end");
    if let Some(Ok(writer)) = writer {
        reads_back(writer.into_inner(), &written);
    }
    records > 0
}

fn reads_back(bytes: Vec<u8>, written: &[(u64, u32, Vec<u8>)]) {
    let mut reader = CaptureReader::from_reader("copy", Cursor::new(bytes)).expect("a capture");
    for (timestamp_ns, len, data) in written {
        let record = reader.next().expect("no damage").expect("a record");
        assert_eq!(
            (record.timestamp_ns, record.len, record.data),
            (*timestamp_ns, *len, &data[..])
        );
    }
    assert!(matches!(reader.next(), Ok(None)));
}
