//! A client that does to nodes what no store does: somebody else's, or an attacker's.

use std::io::{Read, Write};
use std::net::TcpStream;

pub const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const CHILDREN: i32 = 8;
const CLOSE: i32 = -11;

pub struct Raw(TcpStream);

impl Raw {
    pub fn to(server: &str) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self(stream);
        let mut hello = Vec::new();
        hello.extend(0i32.to_be_bytes());
        hello.extend(0i64.to_be_bytes());
        hello.extend(10_000i32.to_be_bytes());
        hello.extend(0i64.to_be_bytes());
        hello.extend(buffer(&[0; 16]));
        raw.send(&hello);
        raw.receive();
        raw
    }

    pub fn get(&mut self, path: &str) -> Vec<u8> {
        let answer = self.ask(GET_DATA, &[&buffer(path.as_bytes())[..], &[0]].concat());
        let length = i32::from_be_bytes(*answer.first_chunk().unwrap()) as usize;
        answer[4..4 + length].to_vec()
    }

    pub fn exists(&mut self, path: &str) -> bool {
        self.try_ask(EXISTS, &[&buffer(path.as_bytes())[..], &[0]].concat()).is_ok()
    }

    /// How many nodes are right below.
    pub fn children(&mut self, path: &str) -> u32 {
        let answer = self.ask(CHILDREN, &[&buffer(path.as_bytes())[..], &[0]].concat());
        u32::from_be_bytes(*answer.first_chunk().unwrap())
    }

    pub fn set(&mut self, path: &str, data: &[u8]) {
        self.ask(SET_DATA, &[buffer(path.as_bytes()), buffer(data), (-1i32).to_be_bytes().to_vec()].concat());
    }

    /// A node that stays, open to everybody.
    pub fn create(&mut self, path: &str, data: &[u8]) {
        let acl = [&1i32.to_be_bytes()[..], &31i32.to_be_bytes(), &buffer(b"world"), &buffer(b"anyone")];
        let body = [buffer(path.as_bytes()), buffer(data), acl.concat(), 0i32.to_be_bytes().to_vec()];
        self.ask(CREATE, &body.concat());
    }

    pub fn delete(&mut self, path: &str) {
        self.ask(DELETE, &[buffer(path.as_bytes()), (-1i32).to_be_bytes().to_vec()].concat());
    }

    fn ask(&mut self, op: i32, body: &[u8]) -> Vec<u8> {
        self.try_ask(op, body).expect("the server refuses")
    }

    fn try_ask(&mut self, op: i32, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.send(&[&1i32.to_be_bytes()[..], &op.to_be_bytes(), body].concat());
        let answer = self.receive();
        let code = i32::from_be_bytes(answer[12..16].try_into().unwrap());
        if code == 0 { Ok(answer[16..].to_vec()) } else { Err(code) }
    }

    pub fn send(&mut self, message: &[u8]) {
        self.0.write_all(&buffer(message)).unwrap();
    }

    pub fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.send(&[1i32.to_be_bytes(), CLOSE.to_be_bytes()].concat());
    }
}

/// With its length before it.
pub fn buffer(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32).to_be_bytes()[..], data].concat()
}
