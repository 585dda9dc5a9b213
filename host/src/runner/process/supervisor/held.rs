//! Hands the gateway's own files over to a new supervisor: their names are its arguments, their
//! descriptors come with the first byte on its socket.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::hiding::HeldFile;

/// Descriptors of all of them, two for each.
const MOST: usize = 64;

/// The arguments by which a supervisor knows these files.
pub fn names(held: &[HeldFile]) -> impl Iterator<Item = &std::ffi::OsStr> {
    held.iter().flat_map(|held| [held.path.as_os_str(), held.name.as_os_str()])
}

pub fn send(socket: impl AsFd, held: &[HeldFile]) -> io::Result<()> {
    let descriptors = held.iter().flat_map(|held| [held.file.as_fd(), held.folder.as_fd()]);
    let descriptors: Vec<_> = descriptors.collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    sendmsg(socket, &[IoSlice::new(b"h")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for them.
pub fn receive(
    socket: &OwnedFd,
    names: impl Iterator<Item = OsString>,
) -> io::Result<Vec<HeldFile>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let names: Vec<_> = names.collect();
    if message.flags.contains(ReturnFlags::CTRUNC) || names.len() != descriptors.len() {
        return Err(io::Error::other("they did not all arrive"));
    }
    let (mut names, mut descriptors) = (names.into_iter(), descriptors.into_iter());
    let next = || {
        let (path, name) = (names.next()?.into(), names.next()?);
        Some(HeldFile { path, name, file: descriptors.next()?, folder: descriptors.next()? })
    };
    Ok(std::iter::from_fn(next).collect())
}
