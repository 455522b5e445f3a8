//! Protobuf, field by field.

use super::{Buckets, Labels, Scrape};

impl Scrape {
    pub(super) fn from_protobuf(body: &[u8]) -> Result<Self, String> {
        let mut scrape = Self::default();
        let mut rest = body;
        while !rest.is_empty() {
            let size = take_varint(&mut rest).ok_or("no size of a family")?;
            let family = take(&mut rest, size).ok_or("half a family")?;
            scrape.add_protobuf_family(family)?;
        }
        Ok(scrape)
    }

    fn add_protobuf_family(&mut self, bytes: &[u8]) -> Result<(), String> {
        let fields = Fields::read(bytes)?;
        let name = fields.text(1)?;
        self.add_family(&name)?;
        let kind = fields.varint(3);
        for metric in fields.messages(4) {
            let metric = metric?;
            let labels = metric.messages(1).map(|pair| {
                let pair = pair?;
                Ok((pair.text(1)?, pair.text(2)?))
            });
            let labels = labels.collect::<Result<Labels, String>>()?;
            // COUNTER, GAUGE, UNTYPED and HISTOGRAM, and the field of each.
            let field = match kind {
                0 => 3,
                1 => 2,
                3 => 5,
                4 => 7,
                _ => return Err(format!("{name} has the type {kind}")),
            };
            let value = metric.messages(field).next();
            let value = value.ok_or_else(|| format!("{name}{labels:?} has no value of its type"))??;
            if kind == 4 {
                self.add_protobuf_histogram(&name, &labels, &value)?;
            } else {
                self.add(&name, labels, value.double(1), kind == 0)?;
            }
        }
        Ok(())
    }

    fn add_protobuf_histogram(&mut self, name: &str, labels: &Labels, value: &Fields) -> Result<(), String> {
        let count = value.varint(1) as f64;
        let mut buckets = Buckets::default();
        for bucket in value.messages(3) {
            let bucket = bucket?;
            let mut labels = labels.clone();
            labels.push(("le".into(), bucket.double(2).to_string()));
            let number = bucket.varint(1) as f64;
            buckets.see("_bucket", &labels, number)?;
            self.add(&format!("{name}_bucket"), labels, number, true)?;
        }
        // Differences between native buckets, which add up to what was observed above zero.
        let deltas = value.varints(13)?;
        if !deltas.is_empty() {
            let differences = deltas
                .iter()
                .map(|delta| (delta >> 1).cast_signed() ^ -(delta & 1).cast_signed());
            let absolute = differences.scan(0, |sum, delta| {
                *sum += delta;
                Some(*sum)
            });
            let native = absolute.sum::<i64>() as f64 + value.varint(7) as f64;
            if native != count {
                return Err(format!(
                    "{name}{labels:?}: {native} in native buckets, a count of {count}"
                ));
            }
        }
        if buckets.last.is_some() {
            buckets.see("_count", labels, count)?;
        }
        buckets.end()?;
        self.add(&format!("{name}_count"), labels.clone(), count, true)?;
        self.add(&format!("{name}_sum"), labels.clone(), value.double(2), true)
    }
}

/// The fields of a protobuf message, as they are on the wire.
struct Fields<'a>(Vec<(u64, Field<'a>)>);

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, String> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = take_varint(&mut bytes).ok_or("no tag")?;
            let field = match tag & 7 {
                0 => take_varint(&mut bytes).map(Field::Number),
                1 => take(&mut bytes, 8).map(|bytes| {
                    let bytes = bytes.try_into().expect("eight bytes");
                    Field::Number(u64::from_le_bytes(bytes))
                }),
                2 => take_varint(&mut bytes)
                    .and_then(|size| take(&mut bytes, size))
                    .map(Field::Bytes),
                _ => None,
            };
            fields.push((tag >> 3, field.ok_or("half a field")?));
        }
        Ok(Self(fields))
    }

    fn all(&self, number: u64) -> impl Iterator<Item = Field<'a>> {
        self.0
            .iter()
            .filter(move |(of, _)| *of == number)
            .map(|(_, field)| *field)
    }

    fn varint(&self, number: u64) -> u64 {
        let last = self.all(number).last();
        last.map_or(0, |field| match field {
            Field::Number(number) => number,
            Field::Bytes(_) => 0,
        })
    }

    fn double(&self, number: u64) -> f64 {
        f64::from_bits(self.varint(number))
    }

    fn messages(&self, number: u64) -> impl Iterator<Item = Result<Fields<'a>, String>> {
        self.all(number).map(|field| match field {
            Field::Bytes(bytes) => Fields::read(bytes),
            Field::Number(_) => Err("a number instead of a message".into()),
        })
    }

    fn text(&self, number: u64) -> Result<String, String> {
        let Some(Field::Bytes(bytes)) = self.all(number).last() else {
            return Ok(String::new());
        };
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }

    /// The numbers of a repeated field, packed or not.
    fn varints(&self, number: u64) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        for field in self.all(number) {
            match field {
                Field::Number(number) => all.push(number),
                Field::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        all.push(take_varint(&mut bytes).ok_or("half a number")?);
                    }
                }
            }
        }
        Ok(all)
    }
}

fn take<'a>(bytes: &mut &'a [u8], size: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
