-- Reading, listing and deleting threads.

-- Returns the last ordinal, the active run, for each ended run what describes it and its replay, the raw frames of one
-- run if they are asked for and still kept, and the messages if they are asked for.
function operations.read(thread, touch, raw_ordinal, with_messages)
    local ordinal, owner = fields(key('t', thread), 'ordinal', 'owner')
    if not ordinal then return false end
    if touch == '1' then -- unless the server takes no writes at the moment
        redis.pcall('ZADD', IDLE, 'XX', NOW, thread)
        redis.pcall('ZADD', key('idle', owner), 'XX', NOW, thread)
    end
    local raw = false
    if raw_ordinal ~= '' and has_raw(thread, raw_ordinal) then raw = entries_after(thread, raw_ordinal, 0) end
    local messages = with_messages == '1' and redis.call('LRANGE', key('m', thread), 0, -1)
    return {ordinal, active_run(thread), redis.call('HGETALL', key('r', thread)), raw, messages}
end

-- Returns {0, duplicates, whether the lease has expired, entries} of an active run, {1, what describes it, entries} of
-- one that has ended, {2} of another one.
function operations.follow(thread, ordinal, after, channel, seconds)
    local live_ordinal, count, duplicates, expires, lease, holder, followers =
        fields(key('l', thread), 'ordinal', 'count', 'duplicates', 'expires', 'lease', 'holder', 'followers')
    after = tonumber(after)
    if live_ordinal == ordinal then
        note_follower(thread, ordinal, holder, followers, channel, tonumber(seconds))
        local entries = after < integer(count) and entries_after(thread, ordinal, after) or {}
        return {0, duplicates, has_expired(expires, lease) and 1 or 0, entries}
    end
    local header = redis.call('HGET', key('r', thread), 'h' .. ordinal)
    if not header then return {2} end
    local stored = tonumber(string.match(header, '^%d+'))
    local entries = {}
    if after ~= stored and has_raw(thread, ordinal) then
        entries = entries_after(thread, ordinal, after > stored and stored - 1 or after)
    end
    return {1, header, entries}
end

-- Returns entries of an owner's list, or of that of one agent, some for each call, and the time of the last one.
function operations.list(owner, has_agent, agent, with_archived, before, count)
    local found = {}
    for _, archived in ipairs(with_archived == '1' and {false, true} or {false}) do
        local name = list_of(owner, archived, has_agent == '1' and agent)
        local part = redis.call('ZREVRANGEBYSCORE', name, before, '-inf', 'WITHSCORES', 'LIMIT', 0, count)
        for at = 1, #part, 2 do found[#found + 1] = {tonumber(part[at + 1]), part[at], name} end
    end
    table.sort(found, function(one, other) return one[1] > other[1] end)
    local entries, last = {}, false
    for at = 1, math.min(#found, tonumber(count)) do
        local updated, thread, name = unpack(found[at])
        entries[at] = {fields_if_intact(key('t', thread),
            'thread_text', 'agent', 'name', 'archived', 'created', 'updated')}
        if redis.call('EXISTS', key('t', thread)) == 0 then redis.call('ZREM', name, thread) end
        last = digits(updated)
    end
    return {entries, last}
end

function operations.update(thread, has_name, name, archived, if_unnamed)
    local key_name = key('t', thread)
    local owner, runs, old_name, agent, updated, was_archived =
        fields(key_name, 'owner', 'runs', 'name', 'agent', 'updated', 'archived')
    if integer(runs) == 0 or (if_unnamed == '1' and old_name) then return 0 end
    if archived ~= '' then
        redis.call('HSET', key_name, 'archived', archived)
        if (was_archived == '1') ~= (archived == '1') then
            unlist(thread, owner)
            enlist(thread, owner, archived == '1', agent, updated)
        end
    end
    if has_name == '1' then
        redis.call('HSET', key_name, 'name', name)
        count_bytes(thread, owner, #name - #(old_name or ''))
    end
    return 1
end

function operations.delete(thread, owner)
    return drop_thread_of(thread, owner) and 1 or 0
end

-- The serial of the last thread that was created.
function operations.serial()
    return redis.call('HGET', SHARD, 'serial') or '0'
end

-- Deletes threads of an owner that were created before a serial. Returns the serial, and whether there may be more.
function operations.clear(owner, last)
    if last == '' then last = redis.call('HGET', SHARD, 'serial') or '0' end
    local found = redis.call('ZRANGEBYSCORE', key('all', owner), '-inf', last, 'LIMIT', 0, BATCH)
    for _, thread in ipairs(found) do
        local is_active = redis.call('EXISTS', key('l', thread), key('t', thread)) == 2
        if not (is_active and if_intact(clear_active_thread, thread)) then drop_thread_of(thread, owner) end
    end
    return {last, #found == BATCH and 1 or 0}
end
