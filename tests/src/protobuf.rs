//! The wire form of Protocol Buffers, as much as counting needs. In: bytes of a message. Out: its fields of a number.

use anyhow::{bail, Context, Result};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// 4 or 8 bytes.
    Fixed,
}

impl<'a> Field<'a> {
    pub fn number(self) -> Result<u64> {
        match self {
            Self::Number(number) => Ok(number),
            other => bail!("a number was expected: {other:?}"),
        }
    }

    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => bail!("bytes were expected: {other:?}"),
        }
    }
}

/// The fields of that number, in their order. Ends after the first fault.
pub fn fields(mut message: &[u8], number: u64) -> impl Iterator<Item = Result<Field<'_>>> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            match field(&mut message) {
                Ok((found, value)) if found == number => return Some(Ok(value)),
                Ok(_) => {}
                Err(error) => {
                    message = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    })
}

fn field<'a>(message: &mut &'a [u8]) -> Result<(u64, Field<'a>)> {
    let tag = number(message)?;
    let value = match tag & 7 {
        0 => Field::Number(number(message)?),
        1 => fixed(message, 8)?,
        2 => {
            let size = number(message)?;
            Field::Bytes(take(message, size as usize)?)
        }
        5 => fixed(message, 4)?,
        kind => bail!("no field has the wire type {kind}"),
    };
    Ok((tag >> 3, value))
}

fn fixed<'a>(message: &mut &'a [u8], size: usize) -> Result<Field<'a>> {
    take(message, size).map(|_| Field::Fixed)
}

fn number(message: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number that never ends")
}

fn take<'a>(message: &mut &'a [u8], size: usize) -> Result<&'a [u8]> {
    let (taken, rest) = message
        .split_at_checked(size)
        .context("the message is cut")?;
    *message = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_between_others() {
        // 1: 300; 2: "ab"; 3: eight bytes; 1: 7
        let message = [
            0x08, 0xac, 0x02, 0x12, 2, b'a', b'b', 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 7,
        ];
        let of = |number| {
            fields(&message, number)
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1), [Field::Number(300), Field::Number(7)]);
        assert_eq!(of(2), [Field::Bytes(b"ab")]);
        assert_eq!(of(3), [Field::Fixed]);
        assert_eq!(of(4), []);
    }

    #[test]
    fn a_cut_is_a_fault_and_the_end() {
        let mut found = fields(&[0x12, 9, b'a'], 1);
        assert!(found.next().is_some_and(|field| field.is_err()));
        assert!(found.next().is_none());
    }
}
