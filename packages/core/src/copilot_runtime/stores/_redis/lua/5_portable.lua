-- Moving threads to another store, and from one.

-- Returns where to go on, which is 0 at the end, and some owners. One that has threads all the time is not missed.
function operations.owners(cursor, count)
    local found = redis.call('ZSCAN', THREADS, cursor, 'COUNT', count)
    local owners = {}
    for at = 1, #found[2], 2 do owners[#owners + 1] = found[2][at] end
    return {found[1], owners}
end

-- Returns the names of an owner's threads that were created after a serial, and the serial of the last one.
function operations.keys(owner, serial, count)
    local found =
        redis.call('ZRANGEBYSCORE', key('all', owner), '(' .. serial, '+inf', 'WITHSCORES', 'LIMIT', 0, count)
    local names = {}
    for at = 1, #found, 2 do
        names[#names + 1] = redis.call('HMGET', key('t', found[at]), 'owner_text', 'thread_text')
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

local function store_in_pieces(command, name, values)
    for first = 1, #values, 1000 do
        redis.call(command, name, unpack(values, first, math.min(first + 999, #values)))
    end
end

-- Replaces a thread that has the given version, which is empty if there must be none. Four lists follow: <ordinal>, what
-- describes the run and the replay, for each run; <ordinal> and id, for each id in events, and in inputs; the messages.
-- Returns {1} if it is stored, {0} if the version is another one, or {2, limit, how much of it is needed}.
function operations.import(
    thread, owner, owner_text, thread_text, version, ordinal, agent, name, archived, created, updated, used
)
    if version_of(thread) ~= version then return {0} end
    local runs, at = list_at(FIRST + 12)
    local in_events, in_inputs, messages
    in_events, at = list_at(at)
    in_inputs, at = list_at(at)
    messages = list_at(at)
    local added = math.max(#name - 1, 0)
    for run = 1, #runs, 3 do added = added + #runs[run + 1] + #runs[run + 2] + RUN_BYTES end
    for _, ids in ipairs({in_events, in_inputs}) do
        for id = 2, #ids, 2 do added = added + #ids[id] + ID_BYTES end
    end
    for _, message in ipairs(messages) do added = added + #message + MESSAGE_BYTES end
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
    updated = tonumber(updated)
    while redis.call('ZCOUNT', key('list', owner), updated, updated) > 0 do updated = updated + 1 end
    redis.call('HSET', key('t', thread), 'runs', #runs / 3, 'agent', agent, 'archived', archived, 'created', created,
        'updated', digits(updated), 'first', runs[1], 'last', runs[#runs - 2], 'raw', '')
    if name ~= '' then redis.call('HSET', key('t', thread), 'name', string.sub(name, 2)) end
    for run = 1, #runs, 3 do
        redis.call('HSET', key('r', thread), 'h' .. runs[run], runs[run + 1], runs[run], runs[run + 2])
    end
    store_in_pieces('ZADD', key('e', thread), in_events)
    store_in_pieces('ZADD', key('i', thread), in_inputs)
    store_in_pieces('RPUSH', key('m', thread), messages)
    redis.call('ZADD', key('list', owner), updated, thread)
    count_bytes(thread, owner, added)
    set_idle(thread, owner, math.min(tonumber(used), NOW))
    return {1}
end
