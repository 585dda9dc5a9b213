//! What Redis does in one step.
//!
//! A key that has another type than ours was written by somebody else: it is removed, so that one
//! such key costs nothing but itself.

use redis::{Cmd, cmd};

/// One script.
pub struct Script(&'static str);

impl Script {
    /// A call, to which arguments are added. The text goes along: a digest would need a server that
    /// knows it, and what is saved is two microseconds.
    pub fn command(&self, keys: &[String]) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.0).arg(keys.len()).arg(keys);
        command
    }
}

/// Keys: bindings, tombstone, events. Arguments: server, epoch, epoch that was open, whether it was
/// open, node, epoch that was seen, lifetime, event, events that are kept, whether a first binding is
/// one. Epochs are below 2^53, so that Lua's numbers keep them exactly; as texts they are never
/// written from a number.
pub const CLAIM: Script = Script(
    "if redis.call('EXISTS', KEYS[2]) == 1 then return 'ended' end
local known = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(known) == 'table' then
  redis.call('DEL', KEYS[1])
  known = false
end
local opened, open, moved = ARGV[3], ARGV[4], not known and ARGV[10] == '1'
if known and #known <= 128 then
  local epoch, before, was, node = string.match(known, '^1 (%d+) (%d+) (%l+) (%S+)$')
  if epoch then
    moved = node ~= ARGV[5]
    local is_newer = moved and tonumber(epoch) >= tonumber(ARGV[2])
    if is_newer or tonumber(epoch) > tonumber(ARGV[6]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[7])
      return known
    end
    if was == 'open' then open = 'open' end
    if tonumber(before) > tonumber(opened) then opened = before end
  end
end
if not known and redis.call('HLEN', KEYS[1]) >= 1000 then return 'full' end
local text = '1 ' .. ARGV[2] .. ' ' .. opened .. ' ' .. open .. ' ' .. ARGV[5]
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
if moved then redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[9], '*', 'e', ARGV[8]) end
return 'kept'",
);

/// Keys: bindings, tombstone. Answers with whether the session has ended, then servers and
/// bindings in turn.
pub const SESSION: Script = Script(
    "local found = {redis.call('EXISTS', KEYS[2])}
local names = redis.pcall('HLEN', KEYS[1])
if type(names) == 'table' or names > 1000 then
  redis.call('DEL', KEYS[1])
  return found
end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #name <= 512 and redis.call('HSTRLEN', KEYS[1], name) <= 128 then
    found[#found + 1] = name
    found[#found + 1] = redis.call('HGET', KEYS[1], name)
  end
end
return found",
);

/// Keys: keepers, tombstone. Arguments: a name or none, lifetime. Answers with the names. More than 64
/// were written by somebody else.
pub const KEEPERS: Script = Script(
    "if redis.call('EXISTS', KEYS[2]) == 1 then return {ARGV[1]} end
local known = redis.pcall('SCARD', KEYS[1])
if type(known) == 'table' or known > 64 then redis.call('DEL', KEYS[1]) end
if ARGV[1] ~= '' then
  redis.call('SADD', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('SMEMBERS', KEYS[1])",
);

/// Keys: tombstone, bindings, settings, parameters, keepers, events. Arguments: the id's remaining life,
/// event, events that are kept.
pub const END: Script = Script(
    "local is_new = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if is_new then redis.pcall('XADD', KEYS[6], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[2]) end
return 'kept'",
);
