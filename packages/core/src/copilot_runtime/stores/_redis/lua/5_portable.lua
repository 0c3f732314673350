-- Moving threads to another store, and from one.

-- Returns where to go on, which is 0 at the end, and some owners. One that has threads all the time is not missed.
function operations.owners(cursor, count)
    local found = redis.call('ZSCAN', THREADS, cursor, 'COUNT', count)
    local owners = {}
    for at = 1, #found[2], 2 do owners[#owners + 1] = found[2][at] end
    return {found[1], owners}
end

-- Returns the names of an owner's threads that were created after a serial, and the serial of the last one. Damaged
-- threads have no names.
function operations.keys(owner, serial, count)
    local found =
        redis.call('ZRANGEBYSCORE', key('all', owner), '(' .. serial, '+inf', 'WITHSCORES', 'LIMIT', 0, count)
    local names = {}
    for at = 1, #found, 2 do
        local owner_text, thread_text = fields_if_intact(key('t', found[at]), 'owner_text', 'thread_text')
        names[#names + 1] = {owner_text or false, thread_text or false}
    end
    return {names, found[#found] or false}
end

function operations.export(thread)
    local name = key('t', thread)
    if redis.call('EXISTS', name) == 0 then return false end
    return {
        redis.call('HMGET', name, 'ordinal', 'agent', 'name', 'archived', 'created', 'updated'),
        redis.call('ZSCORE', IDLE, thread) or digits(NOW),
        active_run(thread),
        redis.call('HGETALL', key('r', thread)),
        redis.call('LRANGE', key('m', thread), 0, -1),
        redis.call('ZRANGE', key('e', thread), 0, -1, 'WITHSCORES'),
        redis.call('ZRANGE', key('i', thread), 0, -1, 'WITHSCORES'),
    }
end

-- Changes whenever the thread is another one than before.
local function version_of(thread)
    local found = redis.call('HMGET', key('t', thread), 'serial', 'ordinal', 'last', 'updated', 'archived', 'name')
    if not found[1] then return '' end
    found[#found + 1] = redis.call('EXISTS', key('l', thread))
    for at, value in ipairs(found) do found[at] = value or '' end
    return table.concat(found, ' ')
end

-- Returns the version of a thread, and what an import is decided by.
function operations.state(thread)
    local last = redis.call('HGET', key('t', thread), 'last')
    return {
        version_of(thread),
        redis.call('HMGET', key('t', thread), 'ordinal', 'last', 'updated', 'name', 'archived'),
        last and redis.call('HGET', key('r', thread), 'h' .. last),
        redis.call('EXISTS', key('l', thread)),
    }
end

-- How the parts of a thread are stored: runs, the ids in events, the ids in inputs, and messages.
local STAGED = {
    r = {command = 'HSET', bytes = function(name, value)
        return #value + (string.sub(name, 1, 1) == 'h' and RUN_BYTES or 0)
    end},
    e = {command = 'ZADD', bytes = function(_, id) return #id + ID_BYTES end},
    i = {command = 'ZADD', bytes = function(_, id) return #id + ID_BYTES end},
    m = {command = 'RPUSH', bytes = function(message) return #message + MESSAGE_BYTES end},
}
local STAGED_MILLISECONDS = 3600000 -- after which what an import that was broken off leaves is deleted

-- Stores values of one kind of a thread that is being imported, under a name of their own. Of messages, `first` is how
-- many came before. Returns the bytes that the values take.
function operations.stage(stage, kind, first)
    local name, how = key(kind, stage), STAGED[kind]
    local step, added = kind == 'm' and 1 or 2, 0
    for at = FIRST + 3, #ARGV, step do added = added + how.bytes(ARGV[at], ARGV[at + 1]) end
    if kind == 'm' then
        local length = redis.call('LLEN', name)
        if length > tonumber(first) then return added end -- by a call whose answer was lost
        if length < tonumber(first) then return redis.error_reply('ERR a part of the thread is missing') end
    end
    for at = FIRST + 3, #ARGV, 1000 do
        redis.call(how.command, name, unpack(ARGV, at, math.min(at + 999, #ARGV)))
    end
    redis.call('PEXPIRE', name, STAGED_MILLISECONDS)
    return added
end

-- Deletes what was staged.
function operations.unstage(stage)
    for kind in pairs(STAGED) do redis.call('UNLINK', key(kind, stage)) end
    return 1
end

-- Replaces a thread that has the given version, which is empty if there must be none, by what was staged. Further
-- arguments are the name of that, its bytes, the number of runs, and the ordinals of the first and the last one. Returns
-- {1} if it is stored, {0} if the version is another one, or {2, limit, how much of it is needed}.
function operations.import(
    thread, owner, owner_text, thread_text, version, ordinal, agent, name, archived, created, updated, used
)
    local stage, staged_bytes, runs, first, last = unpack(ARGV, FIRST + 12, FIRST + 16)
    if version_of(thread) ~= version then return {0} end
    if redis.call('EXISTS', key('r', stage)) == 0 then
        return redis.error_reply('ERR a part of the thread is missing')
    end
    local added = tonumber(staged_bytes) + math.max(#name - 1, 0)
    local is_new = version == ''
    local needed = {
        threads = integer(redis.call('HGET', SHARD, 'threads')) + OTHER_THREADS + (is_new and 1 or 0),
        bytes = integer(redis.call('HGET', SHARD, 'bytes')) + OTHER_BYTES + added + THREAD_BYTES
            - integer(redis.call('HGET', key('t', thread), 'bytes')),
    }
    for measure, total in pairs(needed) do
        local limit = MEASURES[measure].limit
        if limit > 0 and total > limit then return {2, 'max_' .. measure, digits(total)} end
    end
    -- First, since it is refused if the server's memory is used up.
    next_serial()
    if not is_new then drop_thread(thread) end
    add_thread(thread, owner, owner_text, thread_text, ordinal)
    updated = unused_time(owner, tonumber(updated))
    redis.call('HSET', key('t', thread), 'runs', runs, 'agent', agent, 'archived', archived, 'created', created,
        'updated', digits(updated), 'first', first, 'last', last, 'raw', '')
    if name ~= '' then redis.call('HSET', key('t', thread), 'name', string.sub(name, 2)) end
    for kind in pairs(STAGED) do
        if redis.call('EXISTS', key(kind, stage)) == 1 then
            redis.call('RENAME', key(kind, stage), key(kind, thread))
            redis.call('PERSIST', key(kind, thread))
        end
    end
    enlist(thread, owner, archived == '1', agent, updated)
    count_bytes(thread, owner, added)
    set_idle(thread, owner, math.min(tonumber(used), NOW))
    return {1}
end
