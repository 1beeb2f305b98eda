//! Apache Arrow IPC and Parquet: rows gathered into record batches.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, DurationNanosecondBuilder, Float64Builder, Int32Builder,
    Int64Builder, StringBuilder, TimestampMillisecondBuilder, TimestampNanosecondBuilder,
    UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::{Writer, text};
use crate::failure::Failure;

/// Rows per record batch.
const BATCH_ROWS: usize = 8192;

/// Writes an Arrow IPC stream.
pub struct ArrowStream {
    batch: Batch,
    out: StreamWriter<Box<dyn Write + Send>>,
}

impl ArrowStream {
    /// Writes the schema at once.
    pub fn new(out: Box<dyn Write + Send>, schema: &Schema) -> Result<Self, Failure> {
        let batch = Batch::new(schema);
        let out = StreamWriter::try_new(out, &batch.schema)
            .map_err(|e| Failure::Environment(format!("cannot begin the arrow stream: {e}")))?;
        Ok(Self { batch, out })
    }

    fn flush_batch(&mut self) -> io::Result<()> {
        match self.batch.take().map_err(arrow_error)? {
            Some(batch) => self.out.write(&batch).map_err(arrow_error),
            None => Ok(()),
        }
    }
}

impl Writer for ArrowStream {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        if self.batch.push(values) { self.flush_batch() } else { Ok(()) }
    }

    fn window(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush_batch()?;
        self.out.finish().map_err(arrow_error)
    }
}

/// Writes a Parquet file (zstd).
pub struct Parquet {
    batch: Batch,
    out: Option<ArrowWriter<Box<dyn Write + Send>>>,
}

impl Parquet {
    /// Writes the header at once.
    pub fn new(out: Box<dyn Write + Send>, schema: &Schema) -> Result<Self, Failure> {
        let batch = Batch::new(schema);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let out = ArrowWriter::try_new(out, batch.schema.clone(), Some(properties))
            .map_err(|e| Failure::Environment(format!("cannot begin the parquet file: {e}")))?;
        Ok(Self { batch, out: Some(out) })
    }

    fn flush_batch(&mut self) -> io::Result<()> {
        let batch = self.batch.take().map_err(arrow_error)?;
        match (batch, &mut self.out) {
            (Some(batch), Some(out)) => out.write(&batch).map_err(parquet_error),
            _ => Ok(()),
        }
    }
}

impl Writer for Parquet {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        if self.batch.push(values) { self.flush_batch() } else { Ok(()) }
    }

    fn window(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush_batch()?;
        match self.out.take() {
            Some(out) => out.close().map(drop).map_err(parquet_error),
            None => Ok(()),
        }
    }
}

/// Rows on their way into a record batch.
struct Batch {
    schema: Arc<ArrowSchema>,
    columns: Vec<Column>,
    rows: usize,
}

impl Batch {
    fn new(schema: &Schema) -> Self {
        let fields: Vec<Field> =
            schema.columns.iter().map(|c| Field::new(&c.name, arrow_type(c.ty), false)).collect();
        let columns = schema.columns.iter().map(|c| Column::new(c.ty)).collect();
        Self { schema: Arc::new(ArrowSchema::new(fields)), columns, rows: 0 }
    }

    /// Takes a row; TRUE when the batch is full.
    fn push(&mut self, values: &[Value]) -> bool {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
        self.rows += 1;
        self.rows >= BATCH_ROWS
    }

    fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new(self.schema.clone(), arrays).map(Some)
    }
}

/// The Arrow type a column has. Addresses and prefixes are text, as Arrow has no type for them.
fn arrow_type(ty: Type) -> DataType {
    match ty {
        Type::Bool => DataType::Boolean,
        Type::Ushort => DataType::UInt16,
        Type::Uint => DataType::UInt32,
        Type::Int => DataType::Int32,
        Type::Ullong => DataType::UInt64,
        Type::Llong => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::Bytes => DataType::Binary,
        Type::TimeVal => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Type::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Type::Duration => DataType::Duration(TimeUnit::Nanosecond),
        Type::Ip | Type::Ipv6 | Type::Inet | Type::Prefix | Type::Mac | Type::String => {
            DataType::Utf8
        }
    }
}

enum Column {
    Bool(BooleanBuilder),
    U16(UInt16Builder),
    U32(UInt32Builder),
    I32(Int32Builder),
    U64(UInt64Builder),
    I64(Int64Builder),
    F64(Float64Builder),
    Bytes(BinaryBuilder),
    Millis(TimestampMillisecondBuilder),
    Nanos(TimestampNanosecondBuilder),
    Duration(DurationNanosecondBuilder),
    Text(StringBuilder, Type),
}

impl Column {
    fn new(ty: Type) -> Self {
        match ty {
            Type::Bool => Column::Bool(BooleanBuilder::new()),
            Type::Ushort => Column::U16(UInt16Builder::new()),
            Type::Uint => Column::U32(UInt32Builder::new()),
            Type::Int => Column::I32(Int32Builder::new()),
            Type::Ullong => Column::U64(UInt64Builder::new()),
            Type::Llong => Column::I64(Int64Builder::new()),
            Type::Float => Column::F64(Float64Builder::new()),
            Type::Bytes => Column::Bytes(BinaryBuilder::new()),
            Type::TimeVal => {
                Column::Millis(TimestampMillisecondBuilder::new().with_timezone("UTC"))
            }
            Type::Time => Column::Nanos(TimestampNanosecondBuilder::new().with_timezone("UTC")),
            Type::Duration => Column::Duration(DurationNanosecondBuilder::new()),
            _ => Column::Text(StringBuilder::new(), ty),
        }
    }

    fn push(&mut self, value: &Value) {
        let bits = value.as_u64().unwrap_or(0);
        match self {
            Column::Bool(b) => b.append_value(bits != 0),
            Column::U16(b) => b.append_value(bits as u16),
            Column::U32(b) => b.append_value(bits as u32),
            Column::I32(b) => b.append_value(bits as i32),
            Column::U64(b) => b.append_value(bits),
            Column::I64(b) => b.append_value(bits as i64),
            Column::F64(b) => b.append_value(value.as_f64().unwrap_or(f64::NAN)),
            Column::Bytes(b) => b.append_value(value.as_bytes().unwrap_or(b"")),
            // Arrow times are signed: the few beyond the year 2262 saturate.
            Column::Millis(b) => b.append_value(i64::try_from(bits).unwrap_or(i64::MAX)),
            Column::Nanos(b) => b.append_value(i64::try_from(bits).unwrap_or(i64::MAX)),
            Column::Duration(b) => b.append_value(bits as i64),
            Column::Text(b, ty) => b.append_value(text(value, *ty)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Bool(b) => Arc::new(b.finish()),
            Column::U16(b) => Arc::new(b.finish()),
            Column::U32(b) => Arc::new(b.finish()),
            Column::I32(b) => Arc::new(b.finish()),
            Column::U64(b) => Arc::new(b.finish()),
            Column::I64(b) => Arc::new(b.finish()),
            Column::F64(b) => Arc::new(b.finish()),
            Column::Bytes(b) => Arc::new(b.finish()),
            Column::Millis(b) => Arc::new(b.finish()),
            Column::Nanos(b) => Arc::new(b.finish()),
            Column::Duration(b) => Arc::new(b.finish()),
            Column::Text(b, _) => Arc::new(b.finish()),
        }
    }
}

fn arrow_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

fn parquet_error(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufWriter;
    use std::net::{IpAddr, Ipv4Addr};

    use arrow_ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use wt_catalog::Ordering;
    use wt_plan::physical::ColumnInfo;

    use super::*;

    /// One column of each type, and more rows than one batch has.
    fn rows() -> (Schema, Vec<Vec<Value>>) {
        let column = |ty: Type| ColumnInfo {
            name: ty.name().to_owned(),
            ty,
            ordering: Ordering::Varying,
            window: false,
            subtype: None,
        };
        let schema = Schema { columns: Type::ALL.into_iter().map(column).collect() };
        let mut row: Vec<Value> = Type::ALL.into_iter().map(Value::default_of).collect();
        let mut rows = vec![row.clone()];
        for i in 0..BATCH_ROWS as u64 {
            row[4] = Value::Uint(u64::MAX - i);
            row[9] = Value::Inet(IpAddr::V4(Ipv4Addr::from(i as u32)));
            row[15] = Value::Time(i);
            rows.push(row.clone());
        }
        (schema, rows)
    }

    fn write(writer: &mut dyn Writer, rows: &[Vec<Value>]) {
        for row in rows {
            writer.row(row).unwrap();
        }
        writer.finish().unwrap();
    }

    fn check(batches: impl Iterator<Item = RecordBatch>, schema: &Schema, rows: usize) {
        let mut seen = 0;
        for batch in batches {
            seen += batch.num_rows();
            for (field, column) in batch.schema().fields().iter().zip(&schema.columns) {
                assert_eq!(field.name(), &column.name);
                assert_eq!(field.data_type(), &arrow_type(column.ty));
            }
        }
        assert_eq!(seen, rows);
    }

    fn target(name: &str) -> (std::path::PathBuf, Box<dyn Write + Send>) {
        let path = std::env::temp_dir().join(format!("wiretable-{}-{name}", std::process::id()));
        let file = BufWriter::new(File::create(&path).unwrap());
        (path, Box::new(file))
    }

    #[test]
    fn arrow_streams_read_back() {
        let (schema, rows) = rows();
        let (path, file) = target("arrow");
        let mut writer = ArrowStream::new(file, &schema).unwrap();
        write(&mut writer, &rows);
        drop(writer);
        let reader = StreamReader::try_new(File::open(&path).unwrap(), None).unwrap();
        check(reader.map(Result::unwrap), &schema, rows.len());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn parquet_files_read_back() {
        let (schema, rows) = rows();
        let (path, file) = target("parquet");
        let mut writer = Parquet::new(file, &schema).unwrap();
        write(&mut writer, &rows);
        drop(writer);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build();
        check(reader.unwrap().map(Result::unwrap), &schema, rows.len());
        std::fs::remove_file(path).unwrap();
    }
}
