//! Ports that no other test uses.
//!
//! They are below the range from which the system takes ports for outgoing connections. So a
//! gateway that restarts finds its port free, and a node that calls a coordinator which does not
//! run yet never connects to itself.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 10_240;
const LAST: u16 = 32_000;

/// A port, reserved until the value is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    #[must_use]
    pub fn reserve() -> Self {
        let folder = std::env::temp_dir().join("mooring-tests-ports");
        std::fs::create_dir_all(&folder).expect("a folder for the locks");
        let span = u32::from(LAST - FIRST);
        // Tests that start at the same time begin the search at different ports.
        let start = std::process::id().wrapping_mul(7919) % span;
        (0..span)
            .filter_map(|step| {
                let number = FIRST + u16::try_from((start + step) % span).ok()?;
                let lock = File::create(folder.join(number.to_string())).ok()?;
                flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
                // A program that is not a test may use it.
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                is_unlocked(number).then_some(())?;
                Some(Self { number, _lock: lock })
            })
            .next()
            .expect("a free port")
    }

    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// Whether no gateway has the port to itself: not even one that has closed its sockets.
fn is_unlocked(number: u16) -> bool {
    use socket2::{Domain, SockAddr, Socket, Type};
    let name = SockAddr::unix(format!("\0mooring/port/{number}")).expect("a short name");
    let lock = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    lock.bind(&name).is_ok()
}
