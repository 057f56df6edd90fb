//! Records, put together by hand. In: what they say. Out: their bytes.

pub const BEGIN: u8 = 1;
pub const ABORT: u8 = 2;
pub const END: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;

/// A record, padded to a multiple of eight bytes.
pub fn record(kind: u8, request: u16, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let padding = content.len().next_multiple_of(8) - content.len();
    let ([i1, i0], [c1, c0]) = (request.to_be_bytes(), (content.len() as u16).to_be_bytes());
    let header = [1, kind, i1, i0, c1, c0, padding as u8, 0];
    [&header, content, &[0xaa; 8][..padding]].concat()
}

/// FCGI_BEGIN_REQUEST of a responder.
pub fn begin(request: u16, keeps: bool) -> Vec<u8> {
    record(BEGIN, request, [0, 1, u8::from(keeps), 0, 0, 0, 0, 0])
}

/// FCGI_END_REQUEST of a request that was served.
pub fn end(request: u16) -> Vec<u8> {
    record(END, request, [0; 8])
}

/// The content of FCGI_PARAMS.
pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(short @ ..=127) => bytes.push(short),
                _ => bytes.extend((length as u32 | 1 << 31).to_be_bytes()),
            }
        }
        bytes.extend(name.bytes().chain(value.bytes()));
    }
    bytes
}

/// A request as nginx sends it, with a body where there is one.
pub fn request(number: u16, keeps: bool, params: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut bytes = [
        begin(number, keeps),
        record(PARAMS, number, pairs(params)),
        record(PARAMS, number, ""),
    ]
    .concat();
    if !body.is_empty() {
        bytes.extend(record(STDIN, number, body));
    }
    bytes.extend(record(STDIN, number, ""));
    bytes
}

/// `GET` of a path.
pub fn get(number: u16, keeps: bool, path: &str) -> Vec<u8> {
    let params = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path)];
    request(number, keeps, &params, "")
}

/// An answer as php-fpm writes it.
pub fn answer(number: u16, text: &str) -> Vec<u8> {
    [record(STDOUT, number, text), end(number)].concat()
}

pub const HELLO: &str = "Content-type: text/plain\r\n\r\nhello";
