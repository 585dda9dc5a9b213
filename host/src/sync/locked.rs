use std::sync::{
    Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};

/// A mutex whose data outlives a panic of the thread that held it.
///
/// A panic ends one request, not the gateway. Every holder keeps the data valid after each
/// statement, so that the next one can use it. Never hold the lock across an `.await`.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the lock; it is released when the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guard, if the lock is free now.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The data without locking: `&mut` says that no other thread has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Like [`Locked`], for data that many threads read and few write.
#[derive(Debug, Default)]
pub struct ReadMostly<T>(RwLock<T>);

impl<T> ReadMostly<T> {
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    /// Waits until there is no writer.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is neither a writer nor a reader.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn data_is_there_after_its_holder_has_panicked() {
        let shared = Arc::new(Locked::new(1));
        let other = Arc::clone(&shared);
        let panicked = std::thread::spawn(move || {
            *other.lock() = 2;
            let _held = other.lock();
            panic!("while it holds the lock");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*shared.lock(), 2);
    }
}
